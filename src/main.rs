//! The command line, nothing else.

fn main() -> std::process::ExitCode {
    kadabra::cli::main()
}

//! What do a thousand agents do to a database that comes back, and what while it is well? And what to a Redis that they share?
//!
//! `cargo bench --bench herd` lets virtual time pass, draws `benches/plots/herd.svg` and rewrites its section of
//! `benches/RESULTS.md`. The same seed gives the same figures on any machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "herd/drawing.rs"]
mod drawing;
#[path = "herd/shared.rs"]
mod shared;
#[path = "herd/simulation.rs"]
mod simulation;
#[path = "herd/steady.rs"]
mod steady;

use std::{fmt::Write, fs, path::Path, time::Duration};

use self::simulation::{Course, Scenario};

const BEGIN: &str = "<!-- herd: begin -->";
const END: &str = "<!-- herd: end -->";

fn main() {
    let scenario = Scenario::a_thousand_agents();
    let at_once = Scenario { slow_start: false, ..scenario };
    let in_step = Scenario { jitter: false, ..scenario };
    let patient = Scenario { timeout: Duration::from_secs(30), ..scenario };
    let [as_it_is, at_once, in_step, patient] = [&scenario, &at_once, &in_step, &patient].map(Scenario::run);
    let mut section = head(&scenario);
    section.push_str(&table(
        &scenario,
        [
            ("as it is", &as_it_is),
            ("without slow start", &at_once),
            ("without jitter", &in_step),
            ("with `timeout = \"30s\"`", &patient),
        ],
    ));
    section.push_str(&histogram(&as_it_is, &at_once));
    section.push_str(&steady::table(&scenario));
    section.push_str(&shared::table());
    println!("{section}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    fs::create_dir_all(folder.join("plots")).expect("the folder of the plots can be made");
    let courses = [("as it is", &as_it_is), ("without slow start", &at_once)];
    drawing::draw(&folder.join("plots/herd.svg"), &scenario, courses).expect("the plot can be drawn");
    write_section(&folder.join("RESULTS.md"), &section);
}

fn head(scenario: &Scenario) -> String {
    format!(
        "{} agents with {} publishers each lose their database for {} s, and come back to one that takes {} lines a second, one \
         request after the other, and finishes what it has begun even when nobody waits for the answer any more. Each publisher \
         has a full batch of {} lines then, which goes back to the agent's channel, as many wait there, and all of it would be written after {:.0} s if \
         nothing were written in vain. An agent waits {} s for an answer, and pauses between {} ms and {} s. All of it is a \
         simulation: the agent's own back-off and slow start, in virtual time; the \
         small batch that is tried with every eighth question is left out.\n\n",
        scenario.agents,
        scenario.workers,
        scenario.outage.as_secs(),
        scenario.lines_per_second,
        scenario.batch(),
        scenario.alone().as_secs_f64(),
        scenario.timeout.as_secs(),
        scenario.backoff.0.as_millis() / 2,
        scenario.backoff.1.as_secs(),
    )
}

fn table<const N: usize>(scenario: &Scenario, courses: [(&str, &Course); N]) -> String {
    let mut text = format!("| | {} |\n|---|{}\n", courses.map(|(name, _)| name).join(" | "), "--:|".repeat(N));
    let mut row = |what: &str, of: &dyn Fn(&Course) -> String| {
        let _ = writeln!(text, "| {what} | {} |", courses.map(|(_, course)| of(course)).join(" | "));
    };
    row("refused connections a second, in the last minute of the outage", &|course| {
        format!("{:.0}", f64::from(course.knocks) / 60.0)
    });
    row("agents that come back in the worst second", &|course| worst(&course.agents).1.to_string());
    row("lines asked to be written in the worst second", &|course| worst(&course.lines).1.to_string());
    row("which is so many s after the return", &|course| worst(&course.lines).0.to_string());
    row("requests in all", &|course| course.requests.iter().sum::<u32>().to_string());
    row("of them answered too late, and sent again", &|course| course.late.to_string());
    row("lines written in vain", &|course| format!("{:.0} %", 100.0 * course.in_vain as f64 / scenario.lines() as f64));
    row("all is written after", &|course| format!("{:.0} s", course.done.as_secs_f64()));
    text
}

/// The first second with the most, and how many it has.
fn worst(seconds: &[u32]) -> (usize, u32) {
    let most = seconds.iter().copied().max().unwrap_or(0);
    (seconds.iter().position(|count| *count == most).unwrap_or(0), most)
}

fn histogram(as_it_is: &Course, at_once: &Course) -> String {
    let mut text =
        "\n![lines a second](plots/herd.svg)\n\nLines asked to be written in each second after the return, in thousands; a # is \
                    50:\n\n```\n\
                    \x20s  as it is                              without slow start\n"
            .to_owned();
    for second in 0..40 {
        let bar = |course: &Course| {
            let thousands = course.lines.get(second).copied().unwrap_or(0) / 1000;
            format!("{thousands:>5} {}", "#".repeat((thousands as usize).div_ceil(50)))
        };
        let _ = writeln!(text, "{}", format!("{second:>2} {:<36}{}", bar(as_it_is), bar(at_once)).trim_end());
    }
    text.push_str("```\n\n");
    text
}

/// Puts the section between its markers, and leaves everything else as it is.
fn write_section(file: &Path, section: &str) {
    let text = fs::read_to_string(file).unwrap_or_default();
    let (before, after) = match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => (text[..begin].to_owned(), text[end + END.len()..].to_owned()),
        _ => {
            let before = format!("{}\n\n## A thousand agents after an outage\n\n", text.trim_end());
            (before.trim_start().to_owned(), "\n".to_owned())
        }
    };
    fs::write(file, format!("{before}{BEGIN}\n{}\n{END}{after}", section.trim_end())).expect("the results can be written");
}

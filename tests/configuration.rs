//! A wrong configuration does not start; the documented one is the code's own.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kadabra::config::schema::{Fallback, Key, PREFIX, Reload, SECTIONS, keys};
use kadabra::config::{
    Channel, ConfigErrors, InfluxdbApi, Loaded, PublisherKind, TextMetadata, documented, load_channel, load_or,
};

/// What every user's environment has.
const HOME: [(&str, &str); 1] = [("HOME", "/home/user")];
/// In two halves, so that one is whole wherever a test breaks it.
const SECRET: &str = "hunter2-hunter2";
const HALF: &str = "hunter2";

fn load_text(folder: &Path, text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let file = folder.join("kadabra.toml");
    std::fs::write(&file, text).unwrap();
    load_or(&file, None, environment.iter().chain(&HOME).copied())
}

fn defaults() -> Loaded {
    load_or(Path::new("/nonexistent"), None, HOME).unwrap()
}

/// A file, an environment, and the sentences that they get.
#[derive(Default)]
struct Wrong<'a> {
    file: String,
    environment: Vec<(&'a str, &'a str)>,
    sentences: Vec<&'a str>,
}

/// The cases of `configuration_wrong.txt`: apart by empty lines; `$` before a variable, `=>` before a sentence, `##` before a remark.
fn wrong_configurations() -> Vec<Wrong<'static>> {
    let case = |block: &'static str| {
        let mut case = Wrong::default();
        for line in block.lines() {
            if let Some(variable) = line.strip_prefix("$ ") {
                case.environment.push(variable.split_once('=').unwrap());
            } else if let Some(sentence) = line.strip_prefix("=>") {
                case.sentences.push(sentence.trim());
            } else {
                case.file.push_str(line);
                case.file.push('\n');
            }
        }
        case
    };
    include_str!("configuration_wrong.txt").split("\n\n").filter(|block| !block.starts_with("##")).map(case).collect()
}

#[test]
fn each_wrong_configuration_gets_its_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml").display().to_string();
    let cases = wrong_configurations();
    assert!(cases.len() >= 90, "only {} cases were read", cases.len());
    for case in cases {
        let errors = load_text(folder.path(), &case.file, &case.environment).expect_err(&case.file).to_string();
        assert_eq!(errors.replace(&file, "FILE").lines().collect::<Vec<_>>(), case.sentences, "{}", case.file);
    }
}

#[test]
fn what_kubernetes_and_docker_set_for_a_service_of_that_name_is_not_meant_for_us() {
    let service = [
        ("KADABRA_SERVICE_HOST", "10.0.0.1"),
        ("KADABRA_SERVICE_PORT", "6379"),
        ("KADABRA_SERVICE_PORT_HTTP", "80"),
        ("KADABRA_PORT", "tcp://10.0.0.1:6379"),
        ("KADABRA_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ("KADABRA_AGENT_SERVICE_HOST", "10.0.0.1"),
        ("KADABRA_AGENT_SERVICE_PORT_REDIS", "6379"),
        ("KADABRA_AGENT_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("KADABRA_NAME", "/web/kadabra"),
        ("KADABRA_ENV_KADABRA_LOG__LEVEL", "loud"),
        ("KADABRA_1_ENV_PATH", "/bin"),
    ];
    let loaded = load_or(Path::new("/nonexistent"), None, service.into_iter().chain(HOME)).unwrap();
    assert_eq!(loaded.settings, defaults().settings);
    assert!(load_or(Path::new("/nonexistent"), None, [("KADABRA_SERVICE", "x")]).is_err());
}

#[test]
fn a_path_in_the_users_own_folder_is_resolved_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[channel.embedded]\npath = \"~/queue.db\"";
    let environment = [("KADABRA_CHANNEL__EMBEDDED__UNIX_SOCKET", "~/run/kadabra.sock")];
    let loaded = load_text(folder.path(), text, &environment).unwrap();
    let Channel::Embedded(embedded) = &loaded.settings.channel else { panic!("{loaded:?}") };
    assert_eq!(embedded.path, Path::new("/home/user/queue.db"));
    assert_eq!(embedded.unix_socket.as_deref(), Some(Path::new("/home/user/run/kadabra.sock")));
    let printed = loaded.effective().to_string();
    assert!(printed.contains("path = \"/home/user/queue.db\"  # from "), "{printed}");
}

#[test]
fn every_key_that_takes_a_path_keeps_the_one_rule() {
    for key in keys().filter(|key| key.path.ends_with("path") || key.path.ends_with("_file") || key.path.ends_with("socket")) {
        let environment = [(key.variable(), "some/file".to_owned())];
        let errors = load_or(Path::new("/nonexistent"), None, environment).unwrap_err().to_string();
        assert!(errors.contains("a relative one would depend on where the agent is started"), "{errors}");
    }
}

#[test]
fn the_documented_units_are_taken_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let bytes =
        |text: &str| load_text(folder.path(), &format!("[batch]\nmax_bytes = \"{text}\""), &[]).unwrap().settings.batch.max_bytes;
    let (mib, mb) = (1 << 20, 1_000_000);
    for (text, expected) in
        [("4MiB", 4 * mib), ("4 MiB", 4 * mib), ("1.5MiB", mib + mib / 2), ("4MB", 4 * mb), ("4M", 4 * mb), ("4m", 4 * mb)]
    {
        assert_eq!(bytes(text), expected, "{text}");
    }
    for (text, expected) in [("2048B", 2048), ("2KiB", 2048), ("2KB", 2000), ("2K", 2000)] {
        assert_eq!(bytes(text), expected, "{text}");
    }
    let interval =
        |text: &str| load_text(folder.path(), &format!("[batch]\ninterval = \"{text}\""), &[]).unwrap().settings.batch.interval;
    for (text, seconds) in
        [("90s", 90), ("1 minute", 60), ("1m", 60), ("1min", 60), ("2 minutes", 120), ("1m 30s", 90), ("1h", 3600)]
    {
        assert_eq!(interval(text), Duration::from_secs(seconds), "{text}");
    }
    assert_eq!(interval("20ms"), Duration::from_millis(20));
}

#[test]
fn a_file_that_cannot_be_read_does_not_start_and_does_not_hide_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kadabra.toml");
    let problem = |file: &Path| {
        let errors = load_or(Path::new("/nonexistent"), Some(file), [("KADABRA_LOG__LEVEL", "loud")]).unwrap_err().to_string();
        let (first, second) = errors.split_once('\n').unwrap();
        assert!(second.starts_with("KADABRA_LOG__LEVEL: log.level = \"loud\": "), "{second}");
        first.replace(&file.display().to_string(), "FILE")
    };
    assert_eq!(problem(&path), "FILE: cannot be read: No such file or directory (os error 2)");
    assert_eq!(problem(folder.path()), "FILE: cannot be read: Is a directory (os error 21)");
    std::fs::write(&path, b"[log]\nlevel = \"\xff\"").unwrap();
    assert_eq!(problem(&path), "FILE, line 2: expected UTF-8 text");
}

#[test]
fn the_default_file_may_be_missing_but_not_wrong() {
    assert_eq!(defaults().files, Vec::<PathBuf>::new());
    let folder = tempfile::tempdir().unwrap();
    let errors = load_or(folder.path(), None, HOME).unwrap_err().to_string();
    assert!(errors.ends_with("Is a directory (os error 21)"), "{errors}");
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[publisher]\nworkers = 3\nbackoff_min = \"1s\"";
    let environment = [("KADABRA_PUBLISHER__WORKERS", "4"), ("KADABRA_LOG__LEVEL", "warn"), ("PATH", "/bin"), ("KADABRA", "x")];
    let settings = load_text(folder.path(), text, &environment).unwrap().settings;
    assert_eq!(settings.publisher.workers, 4);
    assert_eq!(settings.publisher.backoff_min, Duration::from_secs(1));
    assert_eq!(settings.publisher.backoff_max, Duration::from_secs(30));
    assert_eq!(settings.log.level, slog::Level::Warning);
}

#[test]
fn the_files_of_the_folder_hold_over_the_file_key_by_key_and_the_later_ones_over_the_earlier() {
    let folder = tempfile::tempdir().unwrap();
    let beside = folder.path().join("kadabra.d");
    let base = "[publisher]\nworkers = 2\nbackoff_min = \"1s\"\n[batch]\nmax_messages = 7\nlinger = \"7ms\"\ninterval = \"7s\"";
    assert_eq!(load_text(folder.path(), base, &[]).unwrap().files, [folder.path().join("kadabra.toml")]);
    std::fs::create_dir(&beside).unwrap();
    for (name, text) in [
        ("9-last.toml", "[batch]\nlinger = \"9ms\""),
        ("10-first.toml", "[publisher]\nworkers = 3\n[batch]\nmax_messages = 8\nlinger = \"8ms\""),
        ("20-then.toml", "[publisher]\nworkers = 4"),
        (".#20-then.toml", "the lock of an editor"),
        ("20-then.toml~", "what an editor keeps"),
        ("README", "no configuration"),
    ] {
        std::fs::write(beside.join(name), text).unwrap();
    }
    let loaded = load_text(folder.path(), base, &[("KADABRA_BATCH__INTERVAL", "1s")]).unwrap();
    let settings = &loaded.settings;
    assert_eq!((settings.publisher.workers, settings.batch.max_messages), (4, 8));
    assert_eq!((settings.batch.linger, settings.batch.interval), (Duration::from_millis(9), Duration::from_secs(1)));
    assert_eq!(settings.publisher.backoff_min, Duration::from_secs(1));
    // Each value says where it is from.
    let (shown, at) = (loaded.effective().to_string(), beside.display());
    let [workers, linger] =
        [format!("workers = 4  # from {at}/20-then.toml, line 2"), format!("linger = \"9ms\"  # from {at}/9-last.toml, line 2")];
    let file = folder.path().join("kadabra.toml");
    let [backoff, interval] = [
        format!("backoff_min = \"1s\"  # from {}, line 3", file.display()),
        "interval = \"1s\"  # from KADABRA_BATCH__INTERVAL".to_owned(),
    ];
    for line in [workers, linger, backoff, interval] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    let file = file.display();
    let sources = format!(
        "built-in defaults, then {file}, then {at}/10-first.toml, then {at}/20-then.toml, then {at}/9-last.toml, then the environment \
         (KADABRA_BATCH__INTERVAL)"
    );
    assert_eq!(loaded.sources(), sources);
}

/// The table of docs/reload.md, and the declarations.
#[test]
fn the_page_about_reloading_says_of_every_key_when_a_change_holds() {
    let page = include_str!("../docs/reload.md");
    let row = |begins: &str| page.lines().find(|line| line.starts_with(begins)).unwrap_or_else(|| panic!("no row {begins}"));
    let (at_once, rebuilds, restart) = (row("| `log.level`"), row("| `[publisher]`"), row("| all others:"));
    assert!(at_once.ends_with("| at once |") && rebuilds.contains("| at once: ") && restart.ends_with("| with a restart |"));
    for key in keys() {
        let section = key.path.rsplit_once('.').unwrap().0;
        let begins = section.split('.').next().unwrap();
        let named = |row: &str| row.contains(&format!("`[{section}]`")) || row.contains(&format!("`[{begins}]`"));
        let told = match key.reload {
            Reload::AtOnce => at_once.contains(&format!("`{key}`")),
            Reload::Rebuilds => rebuilds.contains("`[publishers.NAME]`") && (begins == "publishers" || named(rebuilds)),
            Reload::Restart => {
                named(restart) || restart.contains(&format!("`{key}`")) || restart.contains(&format!("`{}`", key.name()))
            }
        };
        assert!(told, "{key}: {:?}", key.reload);
    }
}

#[test]
fn what_is_wrong_in_the_folder_is_named_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let beside = folder.path().join("kadabra.d");
    let wrong = || load_text(folder.path(), "[supervisor]\nbackoff_max = \"1s\"", &[]).unwrap_err().to_string();
    // A file is no folder.
    std::fs::write(&beside, "").unwrap();
    assert_eq!(wrong(), format!("{}: cannot be read: Not a directory (os error 20)", beside.display()));
    std::fs::remove_file(&beside).unwrap();
    std::fs::create_dir_all(beside.join("folder.toml")).unwrap();
    assert_eq!(wrong(), format!("{}/folder.toml: cannot be read: Is a directory (os error 21)", beside.display()));
    std::fs::remove_dir(beside.join("folder.toml")).unwrap();
    let one = beside.join("one.toml");
    std::fs::write(&one, "\n[batch]\nlingr = 1").unwrap();
    assert!(wrong().starts_with(&format!("{}, line 3: batch.lingr: unknown key", one.display())), "{}", wrong());
    // Right by itself, and wrong beside what another file says.
    std::fs::write(&one, "\n[supervisor]\nbackoff_min = \"2s\"").unwrap();
    let (file, both) = (folder.path().join("kadabra.toml"), wrong());
    for path in [file, one] {
        assert!(both.contains(&path.display().to_string()), "{both}");
    }
}

#[test]
fn an_empty_variable_unsets_an_optional_key_whatever_the_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[agent]\nname = \"a\"\n[channel]\ntype = \"redis\"\n[channel.redis]\npassword_file = \"/nonexistent\"";
    let environment = [("KADABRA_CHANNEL__REDIS__PASSWORD_FILE", ""), ("KADABRA_AGENT__NAME", "")];
    let settings = load_text(folder.path(), text, &environment).unwrap().settings;
    assert_eq!(settings.agent.name, defaults().settings.agent.name);
}

#[test]
fn a_variable_that_is_not_text_is_a_problem_only_if_it_is_ours() {
    let odd = || OsString::from_vec(vec![0xff]);
    assert!(
        load_or(
            Path::new("/nonexistent"),
            None,
            [(OsString::from("LS_COLORS"), odd()), (OsString::from("HOME"), OsString::from("/"))]
        )
        .is_ok()
    );
    let errors = load_or(
        Path::new("/nonexistent"),
        None,
        [(OsString::from("KADABRA_AGENT__NAME"), odd()), (OsString::from("HOME"), OsString::from("/"))],
    )
    .unwrap_err();
    assert_eq!(errors.to_string(), "KADABRA_AGENT__NAME: agent.name: expected UTF-8 text");
}

#[test]
fn a_section_that_is_not_in_use_needs_no_password_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[publisher.influxdb]\nusername = \"u\"\npassword_file = \"/nonexistent\"";
    assert!(load_text(folder.path(), text, &[]).is_ok());
    assert!(load_text(folder.path(), &format!("[publisher]\ntype = \"influxdb\"\n{text}"), &[]).is_err());
}

fn embedded(folder: &Path, text: &str) -> kadabra::config::Embedded {
    let environment = [("KADABRA_CHANNEL__TYPE", "embedded"), ("HOME", "/home/a")];
    match load_text(folder, &format!("[channel.embedded]\n{text}"), &environment)
        .unwrap_or_else(|why| panic!("{why}"))
        .settings
        .channel
    {
        Channel::Embedded(embedded) => embedded,
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_are_one_text_or_a_list_and_remote_ones_need_a_password_or_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let listen = |text: &str| embedded(folder.path(), text).listen.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(listen(""), ["127.0.0.1:6379"]);
    assert_eq!(listen("listen = \"127.0.0.1:1, [::1]:2\""), ["127.0.0.1:1", "[::1]:2"]);
    assert_eq!(listen("listen = [\"127.0.0.1:1\", \"[::1]:2\"]"), ["127.0.0.1:1", "[::1]:2"]);
    assert!(listen("listen = []\nunix_socket = \"/s\"").is_empty());
    assert_eq!(listen("listen = \"0.0.0.0:1\"\npassword = \"p\""), ["0.0.0.0:1"]);
    assert_eq!(listen("listen = \"[::]:1\"\nallow_remote = true"), ["[::]:1"]);
    assert_eq!(listen("listen = \"[::ffff:127.0.0.1]:1\""), ["[::ffff:127.0.0.1]:1"]);
}

#[test]
fn other_machines_are_not_listened_to_without_a_password() {
    let problems = |address: &str| {
        let variables = [
            ("KADABRA_CHANNEL__TYPE", "embedded"),
            ("KADABRA_CHANNEL__EMBEDDED__PATH", "/q"),
            ("KADABRA_CHANNEL__EMBEDDED__LISTEN", address),
        ];
        kadabra::config::load_or(Path::new("/nonexistent"), None, variables).unwrap_err().to_string()
    };
    for remote in ["0.0.0.0:6379", "[::]:6379", "10.0.0.7:6379", "[::ffff:10.0.0.7]:6379"] {
        let sentence = format!("other machines could push to {remote} without a password");
        assert!(problems(&format!("127.0.0.1:1, {remote}")).contains(&sentence), "{remote}");
    }
}

#[test]
fn a_variable_can_say_a_list_of_addresses_and_that_there_is_none() {
    let listen = |listen: &str| {
        let variables = [
            ("KADABRA_CHANNEL__TYPE", "embedded"),
            ("KADABRA_CHANNEL__EMBEDDED__PATH", "/q"),
            ("KADABRA_CHANNEL__EMBEDDED__UNIX_SOCKET", "/s"),
            ("KADABRA_CHANNEL__EMBEDDED__LISTEN", listen),
        ];
        let loaded = kadabra::config::load_or(Path::new("/nonexistent"), None, variables);
        let Channel::Embedded(embedded) = loaded.unwrap_or_else(|why| panic!("{why}")).settings.channel else {
            panic!("another")
        };
        embedded.listen.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(listen("[]").is_empty() && listen("[ ]").is_empty() && listen("").is_empty());
    assert_eq!(listen("[\"127.0.0.1:1\", \"[::1]:2\"]"), ["127.0.0.1:1", "[::1]:2"]);
    assert_eq!(listen("[::1]:2,127.0.0.1:1"), ["[::1]:2", "127.0.0.1:1"]);
}

#[test]
fn the_embedded_channels_keys_mean_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let defaults = embedded(folder.path(), "");
    assert_eq!(defaults.path, Path::new("/home/a/.local/state/kadabra/queue.db"));
    assert_eq!((defaults.unix_socket_mode, defaults.idle_timeout, defaults.max_bytes), (0o660, None, 1 << 30));
    assert_eq!(defaults.durability, kadabra::config::Durability::Process);
    let set = embedded(folder.path(), "unix_socket_mode = \"777\"\nidle_timeout = \"1m\"\ndurability = \"fsync\"");
    assert_eq!((set.unix_socket_mode, set.idle_timeout), (0o777, Some(Duration::from_secs(60))));
    assert_eq!(set.durability, kadabra::config::Durability::Fsync);
    assert_eq!(defaults.tcp_keepalive, Some(Duration::from_secs(300)));
    assert_eq!(embedded(folder.path(), "tcp_keepalive = \"0s\"").tcp_keepalive, None);
}

#[test]
fn what_check_prints_loads_to_the_same_settings_and_names_the_sources() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[agent]\nname = \"a\\\\b\"\n[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://h/3\"\n[publisher]\ntype = \"influxdb\"";
    let environment = [("KADABRA_PUBLISHER__INFLUXDB__RETENTION_POLICY", "two \"weeks\""), ("KADABRA_BATCH__MAX_BYTES", "1 MiB")];
    let loaded = load_text(folder.path(), text, &environment).unwrap();
    let printed = loaded.effective().to_string();
    for line in [
        format!("url = \"redis://h/3\"  # from {}, line 6", folder.path().join("kadabra.toml").display()),
        "retention_policy = \"two \\\"weeks\\\"\"  # from KADABRA_PUBLISHER__INFLUXDB__RETENTION_POLICY".to_owned(),
        "workers = 6".to_owned(),
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line} is missing in\n{printed}");
    }
    assert_eq!(load_text(folder.path(), &printed, &[]).unwrap().settings, loaded.settings);
    assert!(
        defaults().effective().to_string().contains("\n# [publisher.influxdb] is not used, since publisher.type = \"debug\"\n")
    );
}

#[test]
fn a_very_long_value_is_cut_in_an_error_but_not_in_what_check_prints() {
    let folder = tempfile::tempdir().unwrap();
    let error = load_text(folder.path(), &format!("[log]\nlevel = \"{}\"", "é".repeat(100_000)), &[]).unwrap_err().to_string();
    assert!(error.len() < 1000, "{} bytes", error.len());
    let url = format!("http://localhost/{}", "x".repeat(1000));
    let text = format!("[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nurl = \"{url}\"");
    assert!(load_text(folder.path(), &text, &[]).unwrap().effective().to_string().contains(&url));
}

#[test]
fn no_secret_is_shown_however_the_file_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, SECRET).unwrap();
    let text = format!(
        "[channel]\ntype = \"redis\"\n[channel.redis]\nurl = \"redis://u:{SECRET}@localhost:6379/0\"\npassword_file = \"{}\"\n\
         [publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nusername = \"u\"\npassword = \"{SECRET}\"\n",
        password_file.display()
    );
    let hidden = |text: &str| {
        let shown = match load_text(folder.path(), text, &[]) {
            Ok(loaded) => format!("{}\n{loaded:?}", loaded.effective()),
            Err(errors) => format!("{errors}\n{errors:?}"),
        };
        assert!(!shown.contains(HALF), "{text}\nshows\n{shown}");
    };
    hidden(&text);
    // Every character missing, and every place with one that means something to TOML or to a URL.
    for at in 0..text.len() {
        hidden(&format!("{}{}", &text[..at], &text[at + 1..]));
        for odd in ["\"", "'", "\n", "=", "[", "]", "#", "\\", "@", "/", ":", "?", "{", ".", "\u{1}"] {
            hidden(&format!("{}{odd}{}", &text[..at], &text[at..]));
        }
    }
}

/// The lines of the documented configuration that are keys, with the section each stands in.
fn documented_keys(text: &str) -> Vec<(String, String)> {
    let mut section = "";
    let mut keys = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.trim_start_matches("# ").strip_prefix('[').filter(|_| line.ends_with(']')) {
            section = name.trim_end_matches(']');
        } else if let Some((name, value)) = line.strip_prefix("# ").and_then(|line| line.split_once(" = "))
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.push((format!("{section}.{name}"), value.to_owned()));
        }
    }
    keys
}

#[test]
fn the_documented_configuration_is_made_of_the_declarations() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/kadabra.toml");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, documented()).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == documented(),
        "conf/kadabra.toml differs from src/config/sections; write it anew: BLESS=1 cargo test"
    );
}

#[test]
fn the_documented_configuration_has_every_key_at_its_default() {
    let text = include_str!("../conf/kadabra.toml");
    let documented = documented_keys(text);
    assert_eq!(
        documented.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(),
        keys().map(|key| key.path).collect::<Vec<_>>()
    );

    let folder = tempfile::tempdir().unwrap();
    let loaded = load_text(folder.path(), text, &[]).unwrap();
    assert_eq!(loaded.settings, defaults().settings, "as a file it changes something");

    // What one of several has would be several publishers.
    let has_default = |key: &&'static Key| matches!(key.default, Fallback::Is(_)) && key.section() != "publishers.NAME";
    let mut uncommented = String::new();
    // With the interface that is the default there is no bucket.
    let is_there = |key: &&'static Key| key.only.is_none_or(|only| only.words.contains(&"v1"));
    for key in keys().filter(has_default).filter(is_there) {
        let (_, value) = documented.iter().find(|(path, _)| path == key.path).unwrap();
        uncommented.push_str(&format!("{} = {value}\n", key.path));
    }
    assert_eq!(load_text(folder.path(), &uncommented, &[]).unwrap().settings, defaults().settings, "{uncommented}");
    let influxdb = [("KADABRA_PUBLISHER__TYPE", "influxdb")];
    let settings = |text: &str| {
        let text = text.replace("publisher.type = \"debug\"\n", "");
        load_text(folder.path(), &text, &influxdb).unwrap().settings
    };
    assert_eq!(settings(&uncommented), settings(""), "{uncommented}");
}

/// What a Rust source has in quotes and in comments, but for the names of fail points.
fn quoted_in(source: &str) -> Vec<&str> {
    let mut texts = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let code = source[..at].trim_end();
        let (from, end) = if rest.starts_with("//") {
            (0, rest.find('\n').unwrap_or(rest.len()))
        } else if rest.starts_with("r#\"") {
            (3, rest.find("\"#").unwrap())
        } else if let Some(text) = rest.strip_prefix('"') {
            let mut escaped = false;
            let ends = |c: char| {
                let is_escaped = std::mem::replace(&mut escaped, false);
                escaped = c == '\\' && !is_escaped;
                c == '"' && !is_escaped
            };
            (1, 1 + text.find(ends).unwrap())
        } else {
            // A quotation mark that is a character begins no text.
            at += if rest.starts_with("'\"'") { 3 } else { rest.chars().next().unwrap().len_utf8() };
            continue;
        };
        if !["fail_point!(", "stall_point!(", "failing("].iter().any(|call| code.ends_with(call)) {
            texts.push(&rest[from..end]);
        }
        at += end + 1;
    }
    texts
}

/// The words of a text that can only be meant as a key or a variable of the configuration, and whether each is one.
fn meant_keys(text: &str) -> Vec<(String, bool)> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_./-".contains(c)));
    // What begins with a dot is a field of JSON.
    let paths = words.filter(|word| !word.starts_with('.')).map(|word| word.trim_end_matches('.'));
    let paths = paths.filter(|path| ![".md", ".json"].iter().any(|file| path.ends_with(file)));
    let sections = || SECTIONS.iter().map(|section| section.path);
    let is_section = |path: &str| sections().any(|section| section == path);
    let begins = |path: &str| path.split_once('.').is_some_and(|(first, rest)| is_section(first) && !rest.is_empty());
    let plain = |path: &&str| begins(path) && path.bytes().all(|b| b.is_ascii_lowercase() || b"_.".contains(&b));
    let paths = paths.filter(plain).map(|path| (path.to_owned(), is_section(path) || keys().any(|key| key.path == path)));
    let names = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let variable = |name: &&str| name.starts_with(PREFIX) && name.contains("__");
    // The name between is the user's, and behind it stand the keys of `[publisher]`.
    let of_a_publisher = |name: &str| {
        let (_, key) = name.strip_prefix("KADABRA_PUBLISHERS__")?.split_once("__")?;
        Some(format!("KADABRA_PUBLISHER__{key}"))
    };
    let is_variable = |name: &str| {
        let plain = of_a_publisher(name).unwrap_or_else(|| name.to_owned());
        keys().any(|key| key.variable() == plain)
    };
    paths.chain(names.filter(variable).map(|name| (name.to_owned(), is_variable(name)))).collect()
}

fn files_in(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| files_in(&entry.unwrap().path(), files));
    } else if path.exists() {
        files.push(path.to_owned());
    }
}

#[test]
fn every_key_that_a_sentence_names_is_declared() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "README.md", "docs", "conf", "CONTRIBUTING.md", "SECURITY.md"]
        .iter()
        .for_each(|name| files_in(&root.join(name), &mut files));
    // Templates have expressions, and sentences in Rust.
    files.retain(|file| file.extension().is_none_or(|extension| extension != "html"));
    let (mut right, mut wrong) = (0, Vec::new());
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let texts = if file.extension().is_some_and(|extension| extension == "rs") {
            // Its tests have names that are wrong on purpose.
            quoted_in(text.split("#[cfg(test)]\nmod tests {").next().unwrap())
        } else {
            vec![text.as_str()]
        };
        for (name, is_declared) in texts.into_iter().flat_map(meant_keys) {
            if is_declared { right += 1 } else { wrong.push(format!("{}: {name}", file.display())) }
        }
    }
    assert!(wrong.is_empty(), "no such key of the configuration:\n{}", wrong.join("\n"));
    assert!(right > 200, "only {right} were found");
}

#[test]
fn a_program_that_pushes_needs_only_the_way_to_the_channel() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    let load = |text: &str| {
        let influxdb =
            "[publisher]\ntype = \"influxdb\"\n[publisher.influxdb]\nusername = \"u\"\npassword_file = \"/nonexistent\"\n";
        std::fs::write(&file, format!("{influxdb}{text}")).unwrap();
        load_channel(Some(&file), [("KADABRA_CHANNEL__EMBEDDED__QUEUE_KEY", "q")])
    };
    let Ok(Channel::Embedded(embedded)) = load("") else { panic!("without a folder for the queue") };
    assert_eq!(embedded.queue_key, "q");
    assert!(matches!(load("[channel]\ntype = \"redis\""), Ok(Channel::Redis(_))));
    for wrong in
        ["[channel.embedded]\nlisten = []", "[channel.embedded]\npassword_file = \"/nonexistent\"", "[log]\nlevel = \"loud\""]
    {
        assert!(load(wrong).is_err(), "{wrong}");
    }
}

fn example(name: &str, environment: &[(&str, &str)]) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples").join(name);
    load_or(Path::new("/nonexistent"), Some(&path), environment.iter().chain(&HOME).copied())
        .unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn each_example_loads_and_does_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "s3cret\n").unwrap();
    let password = password.to_str().unwrap();
    let influxdb = |loaded: &Loaded| match &loaded.settings.publisher.kind {
        PublisherKind::Influxdb(influxdb) => influxdb.clone(),
        _ => panic!("{loaded:?}"),
    };
    let mut seen = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples")).unwrap() {
        seen += 1;
        let name = entry.unwrap().file_name().into_string().unwrap();
        let environment: &[_] = if name == "password-and-tls.toml" {
            &[("KADABRA_CHANNEL__REDIS__PASSWORD_FILE", password), ("KADABRA_PUBLISHER__INFLUXDB__PASSWORD_FILE", password)]
        } else if name == "influxdb-2.toml" || name == "influxdb-3.toml" || name == "influxdb-cloud.toml" {
            &[("KADABRA_PUBLISHER__INFLUXDB__TOKEN_FILE", password)]
        } else if name == "other-machines.toml" {
            &[("KADABRA_CHANNEL__EMBEDDED__PASSWORD_FILE", password)]
        } else {
            &[]
        };
        let loaded = example(&name, environment);
        let redis = || match &loaded.settings.channel {
            Channel::Redis(redis) => redis.clone(),
            Channel::Embedded(_) => panic!("{loaded:?}"),
        };
        match name.as_str() {
            "influxdb.toml" => {
                assert!(matches!(influxdb(&loaded).api, InfluxdbApi::V1(v1) if v1.database == "kadabra"));
                assert!(matches!(loaded.settings.channel, Channel::Embedded(_)), "{loaded:?}");
            }
            "other-machines.toml" => {
                let Channel::Embedded(embedded) = &loaded.settings.channel else { panic!("{loaded:?}") };
                assert_eq!(embedded.password.as_ref().unwrap().expose(), "s3cret");
                assert!(embedded.listen.iter().all(|address| address.ip().is_unspecified()) && !embedded.allow_remote);
            }
            "influxdb-2.toml" | "influxdb-cloud.toml" => {
                let InfluxdbApi::V2(v2) = influxdb(&loaded).api else { panic!("{loaded:?}") };
                assert_eq!((v2.org.as_str(), v2.bucket.as_str(), v2.token.unwrap().expose()), ("example", "kadabra", "s3cret"));
                // What is shown is a configuration again.
                let shown = folder.path().join("shown.toml");
                std::fs::write(&shown, loaded.effective().to_string()).unwrap();
                assert!(matches!(
                    influxdb(&load_or(Path::new("/nonexistent"), Some(&shown), HOME).unwrap()).api,
                    InfluxdbApi::V2(_)
                ));
            }
            "influxdb-3.toml" => {
                let InfluxdbApi::V3(v3) = influxdb(&loaded).api else { panic!("{loaded:?}") };
                assert_eq!((v3.database.as_str(), v3.token.unwrap().expose()), ("kadabra", "s3cret"));
                assert!(v3.accept_partial && !v3.no_sync);
            }
            "redis.toml" => assert_eq!(redis().queue_key.first(), "kadabra_queue"),
            "batched.toml" => assert_eq!(loaded.settings.batch.interval, Duration::from_secs(60)),
            "password-and-tls.toml" => {
                let InfluxdbApi::V1(v1) = influxdb(&loaded).api else { panic!("{loaded:?}") };
                assert_eq!(v1.password.unwrap().expose(), "s3cret");
                assert_eq!(redis().password.unwrap().expose(), "s3cret");
            }
            "several-agents.toml" => {
                assert_eq!((loaded.settings.agent.name.as_str(), redis().lease), ("web-1-first", Duration::from_secs(30)));
            }
            "victoriametrics.toml" => {
                let kind = &loaded.settings.publisher.kind;
                let PublisherKind::Victoriametrics(to) = kind else { panic!("{loaded:?}") };
                assert_eq!((to.text_metadata, to.unique_timestamps), (TextMetadata::Label, true));
            }
            other => panic!("no test knows what conf/examples/{other} is for"),
        }
    }
    assert_eq!(seen, 10);
}

const SEVERAL: &str = r#"
[batch]
max_messages = 50
interval = "1s"
[publishers.eu-1]
type = "influxdb"
max_backlog = 1000
only = ["http_*", "host=web-*"]
influxdb.url = "http://eu:8086"
batch.interval = "5s"
[publishers.shown]
required = false
except = "debug_*"
sample = "12.5%"
[publishers.third]
"#;

#[test]
fn several_publishers_have_each_their_own_settings() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("KADABRA_PUBLISHERS__SHOWN__BATCH__MAX_BYTES", "2MiB"),
        ("KADABRA_PUBLISHERS__EU-1__INFLUXDB__DATABASE", "metrics"),
        ("KADABRA_BATCH__INTERVAL", "2s"),
    ];
    let loaded = load_text(folder.path(), SEVERAL, &environment).unwrap();
    let [eu, shown, third] = loaded.settings.several.as_slice() else { panic!("{loaded:?}") };
    assert_eq!([eu, shown, third].map(|it| it.name.as_deref()), [Some("eu-1"), Some("shown"), Some("third")]);
    let kadabra::config::PublisherKind::Influxdb(influxdb) = &eu.publisher.kind else { panic!("{eu:?}") };
    assert_eq!(influxdb.url, "http://eu:8086");
    assert!(matches!(&influxdb.api, InfluxdbApi::V1(v1) if v1.database == "metrics"), "{influxdb:?}");
    assert_eq!((eu.consumer.required, eu.consumer.max_backlog, eu.consumer.sampled_share()), (true, Some(1000), None));
    assert_eq!(eu.consumer.only, ["http_*", "host=web-*"]);
    assert_eq!((eu.batch.interval, shown.batch.interval), (Duration::from_secs(5), Duration::from_secs(2)));
    assert_eq!((eu.batch.max_messages, shown.batch.max_bytes), (50, 2 << 20));
    assert_eq!((shown.consumer.required, shown.consumer.sampled_share()), (false, Some(0.125)));
    assert_eq!(shown.consumer.except, ["debug_*"]);
    assert_eq!(third.publisher, shown.publisher, "debug is the default of each");

    let effective = loaded.effective().to_string();
    for line in [
        "\n[publishers.eu-1]\ntype = \"influxdb\"  # from ",
        "\n[publishers.eu-1.influxdb]\n",
        "\nurl = \"http://eu:8086\"  # from ",
        "\ndatabase = \"metrics\"  # from KADABRA_PUBLISHERS__EU-1__INFLUXDB__DATABASE\n",
        "\n# [publishers.shown.influxdb] is not used, since publishers.shown.type = \"debug\"\n",
        "\n[publishers.shown.batch]\ninterval = \"2s\"  # from KADABRA_BATCH__INTERVAL\n",
        "\nonly = \"http_*, host=web-*\"  # from ",
    ] {
        assert!(effective.contains(line), "{line:?} in:\n{effective}");
    }
    assert!(!effective.contains("[publisher]"), "{effective}");
    let again = load_text(folder.path(), &effective, &[]).unwrap();
    assert_eq!(again.settings, loaded.settings, "what is shown can be used as a file: {effective}");
}

#[test]
fn what_is_wrong_with_one_of_several_publishers_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("[publishers.Eu]\ntype = \"debug\"", "publishers.Eu: expected a publisher's name of 1 to 32 small letters"),
        ("[publishers.a__b]\ntype = \"debug\"", "publishers.a__b: expected a publisher's name of 1 to 32 small letters"),
        ("[publishers.eu]\ntype = \"influx\"", "publishers.eu.type = \"influx\": expected one of debug, influxdb"),
        ("[publishers.eu]\nworker = 3", "publishers.eu.worker: unknown key; did you mean publishers.eu.workers?"),
        ("[publishers.eu.influx]\nurl = \"\"", "[publishers.eu.influx]: unknown section; did you mean [publishers.eu.influxdb]?"),
        ("[publishers]\neu = 3", "publishers.eu: expected a section, [publishers.eu] with keys such as type"),
        ("publishers = 3", "publishers: expected sections, such as [publishers.main] with keys such as type"),
        (
            "[publisher]\ntype = \"debug\"\n[publishers.eu]\n",
            "publisher.type = \"debug\": not together with [publishers.eu]; expected publishers.NAME.type with a name of its own",
        ),
        (
            "[publishers.eu]\nbackoff_min = \"50s\"",
            "publishers.eu.backoff_min = \"50s\": expected a duration no longer than publishers.eu.backoff_max = \"30s\" (by default)",
        ),
        (
            "[publishers.eu]\ntype = \"influxdb\"\ninfluxdb.username = \"u\"",
            "publishers.eu.influxdb.username = \"u\": a user without a password; expected publishers.eu.influxdb.password_file or \
             publishers.eu.influxdb.password too",
        ),
        ("[publishers.eu]\nsample = \"0%\"", "publishers.eu.sample = \"0%\": expected a share in per cent"),
        ("[publishers.eu]\nonly = [\"\"]", "publishers.eu.only = \"\": expected patterns such as"),
        ("[publisher]\nrequired = true", "publisher.required: unknown key"),
    ] {
        let problems = load_text(folder.path(), text, &[]).unwrap_err().to_string();
        assert!(problems.contains(expected), "{text}\n{problems}");
    }
    for (name, expected) in
        [("KADABRA_PUBLISHERS__EU__TYP", "unknown variable"), ("KADABRA_PUBLISHERS__eu__TYPE", "unknown variable")]
    {
        let problems = load_text(folder.path(), "", &[(name, "debug")]).unwrap_err().to_string();
        assert!(problems.contains(expected), "{name}: {problems}");
    }
}

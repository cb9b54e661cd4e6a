//! Two publishers in one agent, of which one fails.

use super::*;

/// An agent with two publishers, the second of which is not required.
fn start_two(change: impl FnOnce(&mut Settings), of_second: impl Fn(usize) -> Act + Send + Sync + 'static) -> [Running; 2] {
    let text = "[publishers.main]\n[publishers.other]\nrequired = false\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kadabra.toml");
    std::fs::write(&file, text).unwrap();
    let mut settings = config::load_or(&file, None, super::QUIET).unwrap().settings;
    for pipeline in &mut settings.several {
        pipeline.publisher.workers = 1;
    }
    settings.supervisor.max_restarts = 2;
    settings.supervisor.backoff_min = Duration::from_millis(2);
    settings.supervisor.backoff_max = Duration::from_millis(20);
    change(&mut settings);
    let scripts: [Script; 2] = [Arc::new(|_| Act::Write), Arc::new(of_second)];
    let (stop, stopped) = mpsc::unbounded_channel();
    let mut agents = Vec::new();
    let mut pipelines = Vec::new();
    for script in scripts {
        let (memory, batches, attempts) = (Arc::new(Memory::default()), Arc::default(), Arc::new(AtomicUsize::new(0)));
        let made = Arc::clone(&batches);
        let publishers = Publishers::new(move || {
            Box::new(Scripted {
                script: Arc::clone(&script),
                attempts: Arc::clone(&attempts),
                batches: Arc::clone(&made),
                loaded: 0,
            })
        });
        pipelines.push(Pipeline { channel: Arc::clone(&memory) as _, publishers });
        agents.push(Running { memory, batches, stop: stop.clone(), end: None });
    }
    let end = thread::spawn(move || {
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let notifier = Notifier::new(None, None, &log);
        run(
            &settings,
            Parts {
                pipelines,
                statsd: None,
                notifier,
                log,
                output: None,
                configuration: String::new(),
                reloading: None,
                orders: stopped,
            },
        )
    });
    agents[0].end = Some(end);
    agents.try_into().unwrap_or_else(|_| unreachable!("there are two"))
}

#[test]
fn a_publisher_that_is_not_required_is_held_by_itself_and_tried_again_while_the_others_go_on() {
    // It fails so often that its budget is used up three times, and then works.
    let [mut main, mut other] = start_two(|_| (), |attempt| if attempt < 9 { Act::Panic } else { Act::Write });
    other.memory.push("a");
    for number in 0..20 {
        main.memory.push(&format!("m{number}"));
        main.wait("it is published", |memory| memory.done() > number);
    }
    other.wait("the other one works again", |memory| memory.done() == 1);
    assert_eq!(main.stop(), Exit::Clean);
    let tally = other.memory.registry.tally();
    assert!(tally.balances() && tally.in_flight == 0 && tally.published == 1, "{tally:?}");
    other.end = None;
}

#[test]
fn what_a_held_publisher_has_in_hand_is_given_back_at_the_end() {
    let long = Duration::from_secs(3600);
    let [mut main, other] = start_two(|settings| settings.supervisor.backoff_max = long, |_| Act::Panic);
    other.memory.push("a");
    other.wait("it waits again", |memory| memory.registry.tally().leased == 3 && memory.leased() == 0);
    main.memory.push("m");
    main.wait("it is published", |memory| memory.done() == 1);
    assert_eq!(main.stop(), Exit::Clean);
    let tally = other.memory.registry.tally();
    assert!(tally.balances() && tally.in_flight == 0 && other.memory.waiting() == 1, "{tally:?}");
}

#[test]
fn a_required_publisher_that_fails_too_often_ends_the_process() {
    let required = |settings: &mut Settings| settings.several[1].consumer.required = true;
    let [mut main, other] = start_two(required, |_| Act::Panic);
    other.memory.push("a");
    let exit = main.end();
    assert!(matches!(&exit, Exit::GivenUp(Error::OutOfBudget { child, .. }) if child == "publisher 1 of other"), "{exit:?}");
    assert_eq!(other.memory.waiting(), 1);
}

#[test]
fn a_publisher_that_is_not_required_and_whose_thread_hangs_is_held_until_that_answers_while_the_others_go_on() {
    let hangs = |settings: &mut Settings| settings.supervisor.hang_timeout = Duration::from_millis(300);
    let block = |attempt| if attempt == 0 { Act::Block(Duration::from_secs(20)) } else { Act::Write };
    let [mut main, mut other] = start_two(hangs, block);
    other.memory.push("a");
    other.wait("it is in hand", |memory| memory.leased() == 1);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        let done = main.memory.done();
        main.memory.push("m");
        main.wait("it is published", |memory| memory.done() > done);
    }
    assert_eq!((other.memory.leased(), other.memory.done()), (1, 0), "what the thread holds stays with it");
    other.wait("it works again", |memory| memory.done() == 1);
    assert_eq!(main.stop(), Exit::Clean);
    let tally = other.memory.registry.tally();
    assert!(tally.balances() && tally.in_flight == 0 && tally.published == 1 && tally.given_back == 1, "{tally:?}");
    other.end = None;
}

//! Everything that an operator may have to mend, each with a code that never changes: in the log, in the status, in `docs/codes.md`.
//! A code that is not used any more is not given to something else.

use std::fmt;

macro_rules! codes {
    ($($name:ident = $number:literal: $what:literal, $remedy:literal;)*) => {
        /// Something that an operator may have to mend.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $what] $name,)*
        }

        impl Code {
            /// All of them, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name, such as `K205`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// What it means: a sentence.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self {
                    $(Self::$name => $what,)*
                }
            }

            /// What to do about it. Where something has happened, its own line and its own trouble say it with its names.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self {
                    $(Self::$name => $remedy,)*
                }
            }
        }
    };
}

codes! {
    // The channel.
    ChannelUnreachable = "K101": "the channel cannot be reached, or does not answer",
        "see that its server runs and can be reached from here; the agent tries by itself, and what clients push waits there";
    ChannelRefuses = "K102": "the channel answers and refuses what the agent asks of it",
        "do what the line says: a login, a right, a full disk or memory; the agent tries by itself";
    QueueUnusable = "K103": "some of several queues cannot be used; the others are served",
        "do what the line says of the queue that it names; the agent tries by itself, and what clients push to it waits there";
    // The destination.
    PublisherAway = "K201": "the destination cannot be reached, is busy, or fails in a way that may pass",
        "see that the database runs and can be reached; the agent tries by itself, and messages wait in the channel";
    NoDatabase = "K202": "the database, bucket or organization does not exist",
        "create it, or correct its name in the publisher's section";
    NotCreated = "K203": "the database does not exist, and creating it failed",
        "create it as an administrator, with the command that the line says";
    NoRetentionPolicy = "K204": "the retention policy does not exist",
        "create it, or correct its name in the publisher's section";
    Unauthenticated = "K205": "the destination does not accept the login",
        "correct the user, password or token in the publisher's section, or what its file says; a SIGHUP has it tried at once";
    Forbidden = "K206": "the destination does not let this login write",
        "give the user or token the right to write there";
    Limit = "K207": "a limit of the destination on series, tags or points is reached",
        "raise that limit, or drop series that nobody needs; messages wait meanwhile";
    DestinationDisk = "K208": "the destination cannot store points on its disk",
        "free space where the database keeps its data";
    PointTooLarge = "K209": "the destination refuses a single point as too large",
        "raise the largest body that the database, or the proxy before it, takes";
    Foreign = "K210": "what answers is not the write API of the destination",
        "correct the url in the publisher's section, or the proxy that answers there";
    HeldOtherwise = "K211": "the destination waits for something to be mended",
        "do what the line says; it goes on by itself";
    PipelineHeld = "K212": "the actors of a publisher that is not required failed too often, and are held; all others go on",
        "the lines before it in the log say why; it is tried again by itself, and at once with a restart";
    // What is published.
    Times = "K301": "points have a time beyond what the guards allow",
        "mend the clock or the time of the program that sends them, or see max_age and max_future in [guards]";
    NewSeries = "K302": "a metric has more new series than the guards allow",
        "take the dimension that the line names out of the metric, or raise max_new_series in [guards]";
    DeadLetter = "K303": "messages were set aside as dead letters",
        "look at them with kadabra dead-letters list, mend what they complain of, then replay or discard them";
    Stolen = "K304": "leases had expired, and another agent has their messages, or a failover had undone them, and their messages wait again",
        "do nothing after a failover, else see what kept this agent for longer than the lease lasts; writing the messages again changes nothing";
    // What waits.
    Eviction = "K311": "the Redis may delete messages that wait", "set its maxmemory-policy to noeviction";
    Persistence = "K312": "what waits in the channel is not safe, or pushes are refused so that nothing is lost",
        "do what the line says: turn on Redis's append-only file, or mend the disk or the file";
    Memory = "K313": "the Redis has little memory left",
        "see why messages are not published if many wait, or raise its maxmemory";
    Capacity = "K314": "the queue's file has little room left",
        "see why messages are not published if many wait, delete dead letters, or raise channel.embedded.max_bytes";
    Backlog = "K315": "messages wait long, or many wait",
        "see why they are not published sooner; nanny.warn_age and nanny.warn_messages say what is long";
    MaxBacklog = "K316": "nearly as many messages wait for a publisher as may",
        "see why they are not published, or raise its max_backlog";
    RemovedPublisher = "K317": "messages wait for a publisher that is not configured any more",
        "configure it again until they are published, or let go of it: kadabra queue forget NAME, with the agent stopped";
    DeadLettersFull = "K318": "there are as many dead letters as are kept, and the oldest are dropped",
        "look at them, mend what they complain of, then delete them, or raise max_dead_letters";
    Refusals = "K319": "clients are refused something, turned away or cut off",
        "each reason has a code of its own from K401 on";
    Replicas = "K320": "fewer replicas follow the Redis than wait_replicas asks for, and what the agent queues itself waits in memory",
        "see that replicas run and reach it (INFO replication), or lower wait_replicas in [channel.redis]";
    SharedName = "K321": "another agent works on the queue under the same name",
        "give each agent a name of its own in agent.name; nothing is lost or doubled meanwhile";
    // What clients are refused.
    QueueFull = "K401": "pushes are refused: the queue's file is as large as it may be",
        "see why messages are not published if many wait, delete dead letters, or raise channel.embedded.max_bytes";
    BacklogFull = "K402": "pushes are refused: as many messages wait for a required publisher as may",
        "see why they are not published, or raise its max_backlog";
    DiskFull = "K403": "pushes are refused: the disk of the queue is full", "free space on it";
    FileSizeLimit = "K404": "pushes are refused: the queue's file is as large as this process may make one",
        "raise it (ulimit -f, LimitFSIZE= in a unit of systemd)";
    FileDamaged = "K405": "pushes are refused: the queue's file is damaged",
        "what can be read is published; then stop the agent and move the file away, or kadabra queue salvage FILE --to NEW";
    FileGone = "K406": "pushes are refused: the queue's file was deleted, moved or replaced",
        "put it back or restart the agent, which makes a new one";
    SyncFailed = "K407": "pushes are refused: what was queued cannot be synced to the disk", "see what the system's log says of the disk";
    WriteFailed = "K408": "pushes are refused: the queue's file cannot be written",
        "do what the line says, such as ending a program that has locked it";
    DiskStalled = "K409": "pushes are refused: the disk stalls, and no more may wait for it", "see what keeps the disk";
    AgentFault = "K410": "pushes are refused: a fault in the agent", "please report it with the lines of the log; a restart may help";
    ClientNoPassword = "K411": "pushes are refused: their clients have not said the password",
        "give them the one in password_file in [channel.embedded]";
    WrongQueue = "K412": "pushes are refused: they are to another list", "let clients and queue_key in [channel.embedded] say the same";
    TooLarge = "K413": "commands are refused: they or a message in them are larger than allowed",
        "see max_message_bytes and max_waiting_bytes in [channel.embedded]";
    UnknownCommand = "K414": "commands are refused that would put messages into a Redis or take them out of it",
        "clients push with LPUSH or RPUSH, and no other agent can work on this queue";
    NoMessage = "K415": "pushes are refused: there is no message in them", "see the client that pushes nothing";
    Aborted = "K416": "transactions are discarded: a command in them was refused", "their clients were told which";
    DroppedOldest = "K417": "the oldest messages are dropped to make room for what clients push",
        "see why they are not published; channel.embedded.when_full says what becomes of a push";
    WrongDatabase = "K418": "clients are refused another database than 0", "set their db to 0";
    NoMemory = "K419": "clients are refused a command: others have the memory that it takes",
        "send less at once, or raise max_waiting_bytes in [channel.embedded]";
    WrongPassword = "K420": "clients gave a wrong password, or another user than default",
        "give them the one in password_file in [channel.embedded]";
    NotAccepted = "K421": "the system does not hand over clients that connect", "the line says why, such as a limit on open files";
    TooManyClients = "K422": "clients are turned away: as many are connected as may be",
        "see which clients keep connections, or raise max_connections in [channel.embedded]";
    PasswordTimeout = "K423": "clients were cut off: they had not said the password in time", "see who connects there";
    CrowdedOut = "K424": "clients were cut off: they had not said the password, and others came", "see who connects there";
    Http = "K425": "clients spoke HTTP to the channel and were cut off",
        "point the health check, browser or scraper at [status] listen instead";
    Garbage = "K426": "clients were cut off: what they sent is not the protocol", "see which program connects there";
    TooSlow = "K427": "clients were cut off: large commands of theirs hardly went on, for whose memory others waited",
        "see their connection, or send less at once";
    SlowCommand = "K428": "clients were cut off: a command had not arrived whole in time", "see their connection";
    OpenTransaction = "K429": "clients were cut off: the EXEC of a transaction did not come in time", "see the client";
    SlowReader = "K430": "clients were cut off: they did not read their answers in time", "see the client";
    IdleClient = "K431": "clients were closed: they were silent for channel.embedded.idle_timeout",
        "nothing, unless they should stay connected: then 0s";
    StatsdDoor = "K432": "datagrams of statsd cannot be taken",
        "end the program that has the address, or set another in [listener.statsd]; it is tried again, and all else goes on";
    StatsdQueue = "K433": "metrics of statsd cannot be queued, and wait in memory",
        "see why the channel takes nothing; nothing is lost unless the agent ends before it does";
    AnsweredEarly = "K434": "what clients push is answered before it is stored: the disk keeps it waiting", "see what keeps the disk";
    // The agent itself.
    LogUnwritable = "K501": "the log cannot be written", "do what the status says: free space, or start the agent again";
    ActorFailed = "K502": "an actor failed and is restarted", "nothing, if it stays up; else please report it with the line";
    ActorHung = "K503": "an actor made no progress and was ended", "see what it was at: a disk, a name server; else please report it";
    Unbalanced = "K504": "the tally does not balance: messages are not accounted for",
        "a fault of the agent: please report it with the whole line";
    StatusPage = "K505": "the status page cannot be served",
        "end the program that has its address, or set another in [status] listen; it is tried again, and all else goes on";
    Canary = "K506": "the canary's point cannot be pushed, or not be read back from the database",
        "see whether messages wait or the publisher is held; the login must be one that may read, too";
    NotReloaded = "K507": "the configuration was to be reloaded and is wrong; the one before holds, and a start would fail",
        "mend what the line says; kadabra check says whether it is right; then systemctl reload kadabra, or SIGHUP";
    RestartNeeded = "K508": "the configuration was reloaded, and a change in it needs a restart",
        "restart the agent when that suits: systemctl restart kadabra; all else holds already";
}

impl Code {
    /// The one of this name, whichever case it is written in.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_name_of_its_own_in_their_order() {
        let names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
        assert!(names.iter().all(|name| name.len() == 4 && name.starts_with('K')), "{names:?}");
    }
}

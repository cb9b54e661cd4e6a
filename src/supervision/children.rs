//! What is declared of the children: an entry each, and who is introduced to whom.

use std::{any::Any, marker::PhantomData, sync::Arc};

use actix::{dev::ToEnvelope, prelude::*};
use actix_rt::ArbiterHandle;

use super::{
    life::{self, Address, Life, Supervised},
    threads::Thread,
};

/// The children of one supervisor, in the order in which they are started.
#[derive(Default)]
pub(crate) struct Children {
    pub(super) entries: Vec<Child>,
    pub(super) introductions: Vec<Introduction>,
    /// Which child hands what it holds on to which, by their indices.
    pub(super) hands_on: Vec<(usize, usize)>,
    pub(super) groups: Vec<Group>,
}

/// One child.
pub(super) struct Child {
    /// As the log and the reason of the end name it.
    pub(super) name: String,
    pub(super) thread: Thread,
    /// When it drains: those with the lowest first, and all with the same at once.
    pub(super) turn: u8,
    /// The index of the group that it is of, if it is of any.
    pub(super) group: Option<usize>,
    pub(super) start: Start,
}

/// Children that belong together, and are built anew together.
pub(super) struct Group {
    /// As the log names it.
    pub(super) name: String,
    /// There where the others can do without it: when one of them has used up its budget all of them are ended, and tried again later.
    pub(super) held: Option<Held>,
}

/// Is told why a group is ended, and nothing when it is tried again.
pub(crate) type Held = Box<dyn Fn(Option<&str>) + Send>;

/// Starts a life of a child on a thread.
type Start = Box<dyn Fn(&ArbiterHandle, Life) + Send>;

/// Who is told where whom is.
pub(super) struct Introduction {
    pub(super) told: usize,
    pub(super) of: usize,
    pub(super) tell: fn(&dyn Address, &dyn Address),
}

/// An entry of [`Children`]; knows which actor it is.
pub(crate) struct ChildOf<A> {
    index: usize,
    actor: PhantomData<fn() -> A>,
}

/// Where the neighbour is now that takes these messages. What was asked of the one before will not be answered.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Neighbour<M>(pub(crate) Recipient<M>)
where
    M: Message + Send + 'static,
    M::Result: Send;

impl Children {
    /// Adds an entry. `make` is called on the child's thread, once for each of its lives.
    pub(crate) fn add<A: Supervised>(
        &mut self,
        name: impl Into<String>,
        thread: Thread,
        turn: u8,
        make: impl Fn(Life) -> A + Send + Sync + 'static,
    ) -> ChildOf<A> {
        let make = Arc::new(make);
        let start: Start = Box::new(move |arbiter, life| {
            let make = Arc::clone(&make);
            life::start(arbiter, life, move |life| make(life));
        });
        self.entries.push(Child { name: name.into(), thread, turn, group: None, start });
        ChildOf { index: self.entries.len() - 1, actor: PhantomData }
    }

    /// Makes those children a group that were added since there were `from` of them, of a name of its own. Its children are introduced
    /// to each other alone. Where the others can do without it, `held` is told why it is ended, and nothing when it is tried again.
    pub(crate) fn group_since(&mut self, from: usize, name: impl Into<String>, held: Option<Held>) {
        let group = self.groups.len();
        self.groups.push(Group { name: name.into(), held });
        self.entries.iter_mut().skip(from).for_each(|child| child.group = Some(group));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whenever one of the two has come up, `told` is told where to send messages of this kind to `of`.
    pub(crate) fn introduce<M, A, B>(&mut self, told: &ChildOf<A>, of: &ChildOf<B>)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Supervised + Handler<Neighbour<M>>,
        B: Supervised + Handler<M>,
        B::Context: ToEnvelope<B, M>,
    {
        let tell = |told: &dyn Address, of: &dyn Address| {
            let (told, of): (&dyn Any, &dyn Any) = (told, of);
            if let (Some(told), Some(of)) = (told.downcast_ref::<Addr<A>>(), of.downcast_ref::<Addr<B>>()) {
                told.do_send(Neighbour(of.clone().recipient::<M>()));
            }
        };
        self.introductions.push(Introduction { told: told.index, of: of.index, tell });
    }

    /// What `from` holds when it drains can only be handed on to children such as `to`: when all of them have finished before it, it
    /// is ended rather than waited for.
    pub(crate) fn hands_on<A, B>(&mut self, from: &ChildOf<A>, to: &ChildOf<B>) {
        self.hands_on.push((from.index, to.index));
    }

    /// Has all of them live on the supervisor's thread, so that all have one clock, which a test can stop and move.
    #[cfg(test)]
    pub(crate) fn on_one_thread(&mut self) {
        self.entries.iter_mut().for_each(|child| child.thread = Thread::Supervisors);
    }
}

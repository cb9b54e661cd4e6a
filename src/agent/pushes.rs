//! Pushes of an actor that outlive neither it nor a drain half-way: were one cut off, nobody would know whether its messages are queued,
//! and they would be queued once more at the end.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// One push at a time, until they end.
#[derive(Clone)]
pub(super) struct Pushes(Arc<Semaphore>);

impl Pushes {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Begins a push, which ends when the answer is dropped. After [`Pushes::end`] this waits for ever.
    pub(super) async fn begin(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.acquire().await.ok()
    }

    /// Waits until none is under way; from then on none begins.
    pub(super) async fn end(self) {
        if let Some(last) = self.begin().await {
            last.forget();
        }
    }
}

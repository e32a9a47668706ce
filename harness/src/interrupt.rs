//! Ctrl-C, so that a run ends with what it has instead of in the middle of a write.

use std::fmt;

use tokio::sync::watch;

/// Tells whether the user pressed Ctrl-C.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

/// The error of work that stopped because the user pressed Ctrl-C.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// Listens from now on; a second Ctrl-C ends the process at once. Must be called within a runtime.
    pub(crate) fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                sender.send_replace(true);
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(i32::from(crate::EXIT_INTERRUPTED));
                }
            }
        });
        Self(receiver)
    }

    /// Never happens by itself: the sender is kept by the caller, or dropped.
    #[cfg(test)]
    pub(crate) fn manual() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether it happened.
    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when it happens; never, if nobody can press Ctrl-C any more.
    pub(crate) async fn wait(&mut self) {
        if self.0.wait_for(|&set| set).await.is_err() {
            std::future::pending().await
        }
    }
}

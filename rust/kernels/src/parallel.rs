//! Work on `threads` threads with the same bits for any number of them.
//!
//! A kernel cuts its output into pieces whose sizes never depend on the number of threads, and each piece
//! is computed by one thread from the input alone. Which thread takes which piece is left to chance, so no
//! result and no error may depend on it.
//!
//! Threads are started per call (about 20 microseconds each) instead of being kept in a pool: a process that
//! forks, as Python's `multiprocessing` does on Linux, would inherit a pool without its threads and wait for
//! them forever.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::thread;

use crate::KernelError;

/// Calls `work` on every piece, each thread with a `scratch` of its own.
///
/// Returns the error of the first piece, in the order of `pieces`, that fails; pieces after it may have run or
/// not. Fewer threads are used where there are fewer pieces, where the system refuses to start more and where there is
/// no memory for their scratch; it is an error if there is none for that of a single thread.
pub(crate) fn for_each<Piece, Scratch>(
    threads: NonZeroUsize,
    pieces: Vec<Piece>,
    scratch: impl Fn() -> Result<Scratch, KernelError> + Sync,
    work: impl Fn(&mut Scratch, Piece) -> Result<(), KernelError> + Sync,
) -> Result<(), KernelError>
where
    Piece: Send,
{
    let helpers = threads.get().min(pieces.len()).saturating_sub(1);
    let queue = Queue::new(pieces);
    let run = |mut scratch| {
        while let Some((index, piece)) = queue.next() {
            if let Err(error) = work(&mut scratch, piece) {
                queue.fail(index, error);
            }
        }
    };
    let own = scratch()?;
    thread::scope(|scope| {
        for _ in 0..helpers {
            // Out of memory or threads: the ones there are do all the work.
            let help = || scratch().map_or((), run);
            if thread::Builder::new().spawn_scoped(scope, help).is_err() {
                break;
            }
        }
        run(own);
    });
    queue.into_result()
}

/// Pieces not yet handed out, and the failure with the lowest index so far.
///
/// Pieces are handed out in order, so when one fails every piece before it is already with some thread and its
/// own failure will be heard: the failure kept in the end is the first one, whatever the timing.
struct Queue<Piece> {
    state: Mutex<QueueState<Piece>>,
}

struct QueueState<Piece> {
    pieces: std::iter::Enumerate<std::vec::IntoIter<Piece>>,
    failure: Option<(usize, KernelError)>,
}

impl<Piece> Queue<Piece> {
    fn new(pieces: Vec<Piece>) -> Self {
        let pieces = pieces.into_iter().enumerate();
        Self { state: Mutex::new(QueueState { pieces, failure: None }) }
    }

    /// The next piece and its index, or `None` when all are handed out or one has failed.
    fn next(&self) -> Option<(usize, Piece)> {
        let mut state = self.lock();
        if state.failure.is_some() {
            return None;
        }
        state.pieces.next()
    }

    fn fail(&self, index: usize, error: KernelError) {
        let failure = &mut self.lock().failure;
        if failure.as_ref().is_none_or(|(first, _)| index < *first) {
            *failure = Some((index, error));
        }
    }

    fn into_result(self) -> Result<(), KernelError> {
        let state = self.state.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.failure.map_or(Ok(()), |(_, error)| Err(error))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, QueueState<Piece>> {
        // No code that can panic runs under the lock, and a panic elsewhere ends the scope anyway.
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).expect("tests use at least one thread")
    }

    #[test]
    fn every_piece_is_done_once() {
        for n in [1, 2, 3, 50] {
            let mut out = vec![0_usize; 17];
            let pieces: Vec<_> = out.iter_mut().enumerate().collect();
            for_each(
                threads(n),
                pieces,
                || Ok(()),
                |(), (i, slot)| {
                    *slot += i + 1;
                    Ok(())
                },
            )
            .expect("no piece fails");
            assert_eq!(out, (1..=17).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_failure_is_reported_whatever_the_timing() {
        let error = |piece: usize| KernelError::Argument {
            argument: "piece",
            found: piece.to_string(),
            expected: "none".to_owned(),
        };
        for n in [1, 2, 4] {
            let result = for_each(
                threads(n),
                (0..100).collect(),
                || Ok(()),
                |(), piece| {
                    if piece == 40 {
                        thread::sleep(std::time::Duration::from_millis(5));
                    }
                    if piece >= 40 { Err(error(piece)) } else { Ok(()) }
                },
            );
            assert_eq!(result, Err(error(40)));
        }
    }

    #[test]
    fn no_pieces_is_no_work() {
        assert_eq!(for_each(threads(4), Vec::<()>::new(), || Ok(()), |(), ()| Ok(())), Ok(()));
    }
}

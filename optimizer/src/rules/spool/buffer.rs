//! The rows of one partition, kept until each of their readers has them.
//!
//! No task of its own fills the buffer: whichever reader wants rows that nobody has asked for yet asks the input for them, and
//! leaves them for the others. A reader that waits for another operator, such as the probe side of a join for the build side,
//! so never keeps the others waiting; the rows between the first reader and the last are kept, in files when the session's
//! memory is used up.

use datafusion::arrow::array::{Array, ArrayData, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::spill_file::SpillFile;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::SpillManager;
use futures::{Stream, StreamExt};
use std::fmt::{self, Formatter};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker, ready};

/// The rows of one partition and where more come from.
pub(super) struct Buffer {
    /// Held while rows are computed.
    input: Mutex<Option<SendableRecordBatchStream>>,
    /// Held for moments only.
    kept: Mutex<Kept>,
    waiting: Arc<Waiting>,
    schema: SchemaRef,
    spill: SpillManager,
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").finish_non_exhaustive()
    }
}

struct Kept {
    batches: Vec<Batch>,
    /// Those from here on may still be in memory.
    in_memory: usize,
    /// Readers that have not come to their end, of which some may not have begun.
    readers: usize,
    end: Option<End>,
    reservation: MemoryReservation,
}

enum End {
    Rows,
    Error(Arc<DataFusionError>),
}

struct Batch {
    rows: Rows,
    bytes: usize,
    /// Readers that have yet to come here.
    readers: usize,
}

#[derive(Clone)]
enum Rows {
    Memory(RecordBatch),
    File(Arc<dyn SpillFile>, usize),
    /// All readers have them.
    Gone,
}

/// What there is for a reader.
enum Next {
    Rows(Rows),
    End,
    Error(Arc<DataFusionError>),
    /// Nobody has asked for them yet.
    Unknown,
}

impl Buffer {
    pub(super) fn new(
        input: SendableRecordBatchStream,
        readers: usize,
        partition: usize,
        context: &TaskContext,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Self {
        let schema = input.schema();
        let spill = SpillManager::new(
            context.runtime_env(),
            SpillMetrics::new(metrics, partition),
            Arc::clone(&schema),
        );
        let consumer = MemoryConsumer::new(format!("SpoolExec[{partition}]")).with_can_spill(true);
        Self {
            input: Mutex::new(Some(input)),
            kept: Mutex::new(Kept {
                batches: vec![],
                in_memory: 0,
                readers,
                end: None,
                reservation: consumer.register(context.memory_pool()),
            }),
            waiting: Arc::default(),
            schema,
            spill,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing is left half done where it is held.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The batch at a place, for one of its readers.
    fn take(&self, at: usize) -> Next {
        let mut kept = self.kept();
        let kept = &mut *kept;
        let Some(batch) = kept.batches.get_mut(at) else {
            return match &kept.end {
                Some(End::Rows) => Next::End,
                Some(End::Error(error)) => Next::Error(Arc::clone(error)),
                None => Next::Unknown,
            };
        };
        batch.readers = batch.readers.saturating_sub(1);
        if batch.readers > 0 {
            return Next::Rows(batch.rows.clone());
        }
        kept.reservation.shrink(std::mem::take(&mut batch.bytes));
        Next::Rows(std::mem::replace(&mut batch.rows, Rows::Gone))
    }

    /// Asks the input for one more batch, unless another reader does.
    fn advance(&self, at: usize, context: &mut Context<'_>) -> Poll<Result<()>> {
        // First, so that who holds the input sees that somebody waits.
        self.waiting.register(context.waker());
        let mut input = match self.input.try_lock() {
            Ok(input) => input,
            Err(TryLockError::WouldBlock) => return Poll::Pending,
            Err(TryLockError::Poisoned(_)) => {
                return Poll::Ready(internal_err!("another reader of these rows panicked"));
            }
        };
        if self.has(at) {
            return Poll::Ready(Ok(()));
        }
        let waker = Waker::from(Arc::clone(&self.waiting));
        let next = match input.as_mut() {
            Some(stream) => ready!(stream.poll_next_unpin(&mut Context::from_waker(&waker))),
            None => None,
        };
        if !matches!(next, Some(Ok(_))) {
            *input = None;
        }
        let added = self.add(next);
        drop(input);
        self.waiting.wake_others(context.waker());
        Poll::Ready(added)
    }

    fn has(&self, at: usize) -> bool {
        let kept = self.kept();
        at < kept.batches.len() || kept.end.is_some()
    }

    fn add(&self, next: Option<Result<RecordBatch>>) -> Result<()> {
        let mut kept = self.kept();
        let kept = &mut *kept;
        let batch = match next {
            None => {
                kept.end = Some(End::Rows);
                return Ok(());
            }
            Some(Err(error)) => {
                kept.end = Some(End::Error(Arc::new(error)));
                return Ok(());
            }
            Some(Ok(batch)) if batch.num_rows() == 0 => return Ok(()),
            Some(Ok(batch)) => batch,
        };
        let bytes = bytes_of(&batch);
        let fits = kept.reservation.try_grow(bytes).is_ok();
        kept.batches.push(Batch {
            rows: Rows::Memory(batch),
            bytes: if fits { bytes } else { 0 },
            readers: kept.readers,
        });
        if !fits && let Err(error) = self.spill(kept) {
            // Memory that the pool does not have is better than no answer.
            tracing::debug!(%error, "rows cannot be kept in files");
        }
        Ok(())
    }

    /// Moves all rows to a file.
    fn spill(&self, kept: &mut Kept) -> Result<()> {
        let in_memory = kept.batches.get_mut(kept.in_memory..).unwrap_or_default();
        let batches = in_memory.iter().filter_map(|batch| match &batch.rows {
            Rows::Memory(rows) => Some(rows.clone()),
            _ => None,
        });
        let batches: Vec<RecordBatch> = batches.collect();
        let file = self
            .spill
            .spill_record_batch_and_finish(&batches, "rows of several readers")?;
        let Some(file) = file else {
            return Ok(());
        };
        let mut place = 0;
        for batch in in_memory {
            if let Rows::Memory(_) = batch.rows {
                batch.rows = Rows::File(Arc::clone(&file), place);
                kept.reservation.shrink(std::mem::take(&mut batch.bytes));
                place += 1;
            }
        }
        kept.in_memory = kept.batches.len();
        Ok(())
    }

    /// A reader that stops before the end, at a place.
    fn leave(&self, at: usize) {
        let mut kept = self.kept();
        let kept = &mut *kept;
        kept.readers = kept.readers.saturating_sub(1);
        for batch in kept.batches.get_mut(at..).unwrap_or_default() {
            batch.readers = batch.readers.saturating_sub(1);
            if batch.readers == 0 {
                batch.rows = Rows::Gone;
                kept.reservation.shrink(std::mem::take(&mut batch.bytes));
            }
        }
        if kept.readers == 0 {
            // Nobody holds it who is not about to leave.
            if let Ok(mut input) = self.input.try_lock() {
                *input = None;
            }
        }
    }
}

/// The bytes of a batch's own rows: many may be slices of one large one.
fn bytes_of(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    columns.map(|column| data_bytes(&column.to_data())).sum()
}

fn data_bytes(data: &ArrayData) -> usize {
    let fixed = data.get_slice_memory_size().unwrap_or_default();
    match data.data_type() {
        // A view of sixteen bytes, which begins with the length; longer texts than twelve bytes lie elsewhere.
        DataType::Utf8View | DataType::BinaryView => {
            let views = data.buffer::<u128>(0).iter().take(data.len());
            let lengths = views.map(|view| *view as u32 as usize);
            fixed + lengths.filter(|length| *length > 12).sum::<usize>()
        }
        _ => fixed,
    }
}

/// Readers to be woken when the input has more.
#[derive(Debug, Default)]
struct Waiting(Mutex<Vec<Waker>>);

impl Waiting {
    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers();
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
    }

    fn wake_others(&self, own: &Waker) {
        let wakers = std::mem::take(&mut *self.wakers());
        for waker in wakers {
            if !waker.will_wake(own) {
                waker.wake();
            }
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = std::mem::take(&mut *self.wakers());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One of the readers of a partition, from its first row to its last.
pub(super) struct Reader {
    buffer: Arc<Buffer>,
    at: usize,
    /// The batch of a file that comes next, with where it is in the file.
    file: Option<OpenFile>,
    done: bool,
}

struct OpenFile {
    file: Arc<dyn SpillFile>,
    rows: SendableRecordBatchStream,
    /// Of the batch that `rows` returns next.
    place: usize,
    /// Of the batch that is wanted.
    wanted: usize,
}

impl Reader {
    pub(super) fn new(buffer: Arc<Buffer>) -> Self {
        Self {
            buffer,
            at: 0,
            file: None,
            done: false,
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        loop {
            if let Some(open) = &mut self.file
                && open.place <= open.wanted
            {
                let batch = ready!(open.rows.poll_next_unpin(context));
                open.place += 1;
                match batch {
                    Some(Ok(_)) if open.place <= open.wanted => continue,
                    Some(batch) => return Poll::Ready(Some(batch)),
                    None => {
                        return Poll::Ready(Some(internal_err!("a file lacks rows put there")));
                    }
                }
            }
            match self.buffer.take(self.at) {
                Next::Unknown => ready!(self.buffer.advance(self.at, context))?,
                Next::End => return Poll::Ready(None),
                Next::Error(error) => {
                    return Poll::Ready(Some(Err(DataFusionError::Shared(error))));
                }
                Next::Rows(Rows::Memory(rows)) => {
                    self.at += 1;
                    return Poll::Ready(Some(Ok(rows)));
                }
                Next::Rows(Rows::File(file, wanted)) => {
                    self.at += 1;
                    self.seek(file, wanted)?;
                }
                Next::Rows(Rows::Gone) => {
                    return Poll::Ready(Some(internal_err!("rows are read once too often")));
                }
            }
        }
    }

    fn seek(&mut self, file: Arc<dyn SpillFile>, wanted: usize) -> Result<()> {
        if let Some(open) = &mut self.file
            && Arc::ptr_eq(&open.file, &file)
        {
            open.wanted = wanted;
            return Ok(());
        }
        let spill = &self.buffer.spill;
        let rows = spill.read_spill_as_stream_unbuffered(Arc::clone(&file), None)?;
        self.file = Some(OpenFile {
            file,
            rows,
            place: 0,
            wanted,
        });
        Ok(())
    }
}

impl Stream for Reader {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_batch(context));
        self.done = !matches!(next, Some(Ok(_)));
        Poll::Ready(next)
    }
}

impl RecordBatchStream for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.buffer.schema)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.buffer.leave(self.at);
    }
}

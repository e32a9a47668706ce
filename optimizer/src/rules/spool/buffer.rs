//! The rows of an input, kept until each of their readers has them.
//!
//! As soon as one reader asks for rows all partitions of the input run, each in a task of its own, as far as they get: a
//! reader may wait for another operator, such as the probe side of a join for the build side, and joins in the input for all of its
//! partitions. What lies between the first reader and the last is kept in memory up to a limit, and beyond it in files.

use super::most_bytes;
use datafusion::arrow::array::{Array, ArrayData, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::execution::spill_file::SpillFile;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::SpillManager;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{Stream, StreamExt};
use std::fmt::{self, Formatter};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

/// Bytes that a partition keeps in memory even if there is none to be had: fewer are not worth a file.
const LEAST_BYTES: usize = 1 << 20;

/// An input that runs once for several readers of each partition.
#[derive(Debug)]
pub(super) struct Shared {
    /// Of each partition.
    readers: usize,
    begun: Mutex<Begun>,
}

#[derive(Debug, Default)]
struct Begun {
    /// By partition the readers that have begun.
    readers: Vec<usize>,
    /// `None` before the first has begun, and after the last.
    run: Option<Arc<Run>>,
}

impl Shared {
    pub(super) fn new(readers: usize) -> Self {
        Self {
            readers,
            begun: Mutex::default(),
        }
    }

    pub(super) fn readers(&self) -> usize {
        self.readers
    }

    /// The next reader of a partition; `None` if all have begun, so that this is another execution of the plan.
    pub(super) fn reader(
        &self,
        partition: usize,
        input: &Arc<dyn ExecutionPlan>,
        context: &Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Option<Reader>> {
        let mut begun = locked(&self.begun);
        let begun = &mut *begun;
        if begun.readers.is_empty() {
            let run = Run::new(input, self.readers, context, metrics)?;
            begun.readers = vec![0; run.core.buffers.len()];
            begun.run = Some(Arc::new(run));
        }
        let (Some(run), Some(count)) = (&begun.run, begun.readers.get_mut(partition)) else {
            return Ok(None);
        };
        if *count == self.readers {
            return Ok(None);
        }
        let reader = Reader::new(Arc::clone(run), partition, *count);
        *count += 1;
        if begun.readers.iter().all(|count| *count == self.readers) {
            // It ends with its readers.
            begun.run = None;
        }
        Ok(Some(reader))
    }
}

/// One execution of an input. Its tasks end with it.
struct Run {
    core: Arc<Core>,
    /// What has not begun to run.
    inputs: Mutex<Vec<SendableRecordBatchStream>>,
    tasks: Mutex<Vec<SpawnedTask<()>>>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

/// What tasks and readers share.
struct Core {
    buffers: Vec<Buffer>,
    audience: Mutex<Audience>,
}

/// Who wants rows.
#[derive(Default)]
struct Audience {
    /// Readers that have begun and not come to their end.
    readers: usize,
    /// Tasks that wait for readers.
    waiting: Vec<Waker>,
}

impl Run {
    fn new(
        input: &Arc<dyn ExecutionPlan>,
        readers: usize,
        context: &Arc<TaskContext>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Self> {
        let partitions = input.output_partitioning().partition_count();
        let inputs = (0..partitions).map(|p| input.execute(p, Arc::clone(context)));
        let inputs: Vec<SendableRecordBatchStream> = inputs.collect::<Result<_>>()?;
        let memory = match context.memory_pool().memory_limit() {
            MemoryLimit::Finite(bytes) => Some(bytes),
            _ => None,
        };
        let most = most_bytes(memory) as usize / partitions.max(1);
        let buffers = (0..partitions).map(|partition| {
            let schema = input.schema();
            let spill = SpillManager::new(
                context.runtime_env(),
                SpillMetrics::new(metrics, partition),
                Arc::clone(&schema),
            );
            let compression = context.session_config().spill_compression();
            Buffer {
                kept: Mutex::new(Kept::new(readers)),
                most,
                schema,
                spill: spill.with_compression_type(compression),
                context: Arc::clone(context),
            }
        });
        Ok(Self {
            core: Arc::new(Core {
                buffers: buffers.collect(),
                audience: Mutex::default(),
            }),
            inputs: Mutex::new(inputs),
            tasks: Mutex::default(),
        })
    }

    /// Lets all partitions run, if they do not.
    fn start(&self) {
        let inputs = std::mem::take(&mut *locked(&self.inputs));
        let tasks = inputs.into_iter().enumerate().map(|(partition, input)| {
            let core = Arc::clone(&self.core);
            SpawnedTask::spawn(core.fill(partition, input))
        });
        locked(&self.tasks).extend(tasks);
    }
}

impl Core {
    /// Takes all rows of a partition, while somebody wants them.
    async fn fill(self: Arc<Self>, partition: usize, mut input: SendableRecordBatchStream) {
        let Some(buffer) = self.buffers.get(partition) else {
            return;
        };
        // Readers hear of a panic in the input as well.
        let mut unended = Unended(Some(buffer));
        loop {
            self.wanted().await;
            let end = match input.next().await {
                Some(Ok(batch)) => match buffer.add(batch) {
                    Ok(()) => continue,
                    Err(error) => End::Error(Arc::new(error)),
                },
                Some(Err(error)) => End::Error(Arc::new(error)),
                None => End::Rows,
            };
            unended.0 = None;
            return buffer.end(end);
        }
    }

    /// Waits until there is a reader.
    async fn wanted(&self) {
        poll_fn(|context| {
            let mut audience = locked(&self.audience);
            if audience.readers > 0 {
                return Poll::Ready(());
            }
            audience.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A buffer that somebody fills.
struct Unended<'a>(Option<&'a Buffer>);

impl Drop for Unended<'_> {
    fn drop(&mut self) {
        if let Some(buffer) = self.0 {
            let error = exec_datafusion_err!("the input of a spool did not come to its end");
            buffer.end(End::Error(Arc::new(error)));
        }
    }
}

/// The rows of one partition.
struct Buffer {
    kept: Mutex<Kept>,
    /// Bytes to be kept in memory.
    most: usize,
    schema: SchemaRef,
    spill: SpillManager,
    context: Arc<TaskContext>,
}

struct Kept {
    batches: Vec<Batch>,
    /// Those from here on may still be in memory.
    in_memory: usize,
    /// Bytes of those in memory.
    bytes: usize,
    /// Readers that have not come to their end, of which some may not have begun.
    readers: usize,
    end: Option<End>,
    /// `None` as long as there were no rows.
    reservation: Option<MemoryReservation>,
    /// Readers that wait for rows, by their number.
    waiting: Vec<(usize, Waker)>,
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
    /// In a file, and where there.
    File(Arc<dyn SpillFile>, usize),
    /// All readers have them.
    Gone,
}

impl Kept {
    fn new(readers: usize) -> Self {
        Self {
            batches: vec![],
            in_memory: 0,
            bytes: 0,
            readers,
            end: None,
            reservation: None,
            waiting: vec![],
        }
    }

    /// Gives back the bytes of a batch that left memory.
    fn release(&mut self, bytes: usize) {
        self.bytes -= bytes;
        if let Some(reservation) = &self.reservation {
            reservation.shrink(bytes);
        }
    }

    /// One reader less for a batch; its rows if it was not the last, or the rows that are there for it alone.
    fn take(&mut self, at: usize) -> Option<Rows> {
        let batch = self.batches.get_mut(at)?;
        batch.readers = batch.readers.saturating_sub(1);
        if batch.readers > 0 {
            return Some(batch.rows.clone());
        }
        let rows = std::mem::replace(&mut batch.rows, Rows::Gone);
        let bytes = std::mem::take(&mut batch.bytes);
        self.release(bytes);
        Some(rows)
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(|(_, waker)| waker.wake());
    }
}

impl Buffer {
    /// Keeps a batch.
    ///
    /// # Errors
    /// If neither memory nor files can take it.
    fn add(&self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let bytes = bytes_of(&batch);
        let mut guard = locked(&self.kept);
        let kept = &mut *guard;
        if kept.readers == 0 {
            return Ok(());
        }
        let pool = self.context.memory_pool();
        let reservation = kept.reservation.get_or_insert_with(|| {
            let consumer = MemoryConsumer::new("SpoolExec").with_can_spill(true);
            consumer.register(pool)
        });
        let fits = if kept.bytes + bytes <= LEAST_BYTES.min(self.most) {
            reservation.grow(bytes);
            true
        } else {
            kept.bytes + bytes <= self.most && reservation.try_grow(bytes).is_ok()
        };
        let own = if fits { bytes } else { 0 };
        kept.bytes += own;
        let readers = kept.readers;
        kept.batches.push(Batch {
            rows: Rows::Memory(batch),
            bytes: own,
            readers,
        });
        kept.wake();
        drop(guard);
        match fits {
            true => Ok(()),
            false => self.spill(),
        }
    }

    /// Moves the rows in memory to a file. Only the task that fills the buffer does.
    fn spill(&self) -> Result<()> {
        let mut kept = locked(&self.kept);
        let first = kept.in_memory;
        kept.in_memory = kept.batches.len();
        let in_memory = kept.batches.iter().enumerate().skip(first);
        let in_memory = in_memory.filter_map(|(at, batch)| match &batch.rows {
            Rows::Memory(rows) => Some((at, rows.clone())),
            _ => None,
        });
        let (places, batches): (Vec<usize>, Vec<RecordBatch>) = in_memory.unzip();
        // Readers need not wait for the file.
        drop(kept);
        let name = "rows of several readers";
        let file = self.spill.spill_record_batch_and_finish(&batches, name)?;
        let Some(file) = file else {
            return Ok(());
        };
        let mut kept = locked(&self.kept);
        for (place, at) in places.into_iter().enumerate() {
            if let Some(batch) = kept.batches.get_mut(at)
                && matches!(batch.rows, Rows::Memory(_))
            {
                batch.rows = Rows::File(Arc::clone(&file), place);
                let bytes = std::mem::take(&mut batch.bytes);
                kept.release(bytes);
            }
        }
        Ok(())
    }

    fn end(&self, end: End) {
        let mut kept = locked(&self.kept);
        kept.end = Some(end);
        kept.wake();
    }

    /// The batch at a place for a reader, or what there is instead.
    fn poll(&self, at: usize, reader: usize, context: &Context<'_>) -> Poll<Option<Result<Rows>>> {
        let mut kept = locked(&self.kept);
        if let Some(rows) = kept.take(at) {
            return Poll::Ready(Some(Ok(rows)));
        }
        match &kept.end {
            Some(End::Rows) => Poll::Ready(None),
            Some(End::Error(error)) => {
                Poll::Ready(Some(Err(DataFusionError::Shared(Arc::clone(error)))))
            }
            None => {
                kept.waiting.retain(|(waiting, _)| *waiting != reader);
                kept.waiting.push((reader, context.waker().clone()));
                Poll::Pending
            }
        }
    }

    /// A reader that wants nothing from a place on.
    fn leave(&self, at: usize) {
        let mut kept = locked(&self.kept);
        kept.readers = kept.readers.saturating_sub(1);
        for at in at..kept.batches.len() {
            kept.take(at);
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

/// One of the readers of a partition.
pub(super) struct Reader {
    run: Arc<Run>,
    partition: usize,
    /// Its number among the readers of the partition.
    number: usize,
    /// The batch that comes next.
    at: usize,
    file: Option<OpenFile>,
    done: bool,
}

/// A file that a reader reads from front to back.
struct OpenFile {
    file: Arc<dyn SpillFile>,
    rows: SendableRecordBatchStream,
    /// Of the batch that `rows` returns next.
    place: usize,
    /// Of the batch that is wanted.
    wanted: usize,
}

impl Reader {
    fn new(run: Arc<Run>, partition: usize, number: usize) -> Self {
        let mut audience = locked(&run.core.audience);
        audience.readers += 1;
        audience.waiting.drain(..).for_each(Waker::wake);
        drop(audience);
        Self {
            run,
            partition,
            number,
            at: 0,
            file: None,
            done: false,
        }
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let run = Arc::clone(&self.run);
        run.start();
        let Some(buffer) = run.core.buffers.get(self.partition) else {
            return Poll::Ready(Some(internal_err!("there is no such partition")));
        };
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
            match ready!(buffer.poll(self.at, self.number, context)).transpose()? {
                None => return Poll::Ready(None),
                Some(Rows::Memory(rows)) => {
                    self.at += 1;
                    return Poll::Ready(Some(Ok(rows)));
                }
                Some(Rows::File(file, wanted)) => {
                    self.at += 1;
                    self.seek(buffer, file, wanted)?;
                }
                Some(Rows::Gone) => {
                    return Poll::Ready(Some(internal_err!("rows are read once too often")));
                }
            }
        }
    }

    fn seek(&mut self, buffer: &Buffer, file: Arc<dyn SpillFile>, wanted: usize) -> Result<()> {
        if let Some(open) = &mut self.file
            && Arc::ptr_eq(&open.file, &file)
        {
            open.wanted = wanted;
            return Ok(());
        }
        let rows = Arc::clone(&file);
        let rows = buffer.spill.read_spill_as_stream_unbuffered(rows, None)?;
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
        let buffer = self.run.core.buffers.get(self.partition);
        buffer.map_or_else(|| Arc::new(Schema::empty()), |b| Arc::clone(&b.schema))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        locked(&self.run.core.audience).readers -= 1;
        if let Some(buffer) = self.run.core.buffers.get(self.partition) {
            buffer.leave(self.at);
        }
    }
}

/// Nothing is left half done where these locks are held.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

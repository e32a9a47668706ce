//! The `joinwright` command.

use std::process::ExitCode;

/// Query execution allocates and frees large buffers on many threads, which the system allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    joinwright::run(joinwright::Registry::default())
}

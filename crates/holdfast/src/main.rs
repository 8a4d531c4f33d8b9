//! The `holdfast` binary. See the library for what it does.

/// glibc's allocator maps and unmaps every buffer of the data path; this one keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    holdfast::cli::run(std::env::args_os())
}

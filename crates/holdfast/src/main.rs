//! The `holdfast` binary. See the library for what it does.

/// glibc's allocator maps and unmaps every buffer of the data path; this one keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // The allocator asks for pages of 2 MiB, and a few small allocations in each keep all of it in memory: 15 MiB
    // of an idle server, for no gain that could be measured. A kernel that knows no such pages needs no telling.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    holdfast::cli::run(std::env::args_os())
}

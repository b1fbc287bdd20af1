//! The program. Everything else is in the library beside it, so that benchmarks and fuzz targets reach the gates.

/// Nothing that touches a device happens here: a verb that only looks is done in milliseconds.
fn main() -> std::process::ExitCode {
    pipeline::main()
}

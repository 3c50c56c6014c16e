//! The `weir-collector` program; everything is in [`weir_collector::cli`].

fn main() -> std::process::ExitCode {
    weir_collector::cli::main()
}

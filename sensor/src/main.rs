//! The `weir-sensor` program; everything is in [`weir_sensor::cli`].

fn main() -> std::process::ExitCode {
    weir_sensor::cli::main()
}

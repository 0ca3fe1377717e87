//! `bindgen IN.wasm OUT_DIR`: what `wasm-bindgen --target web` does.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, from, to] = &arguments[..] else { return Err("use: bindgen IN.wasm OUT_DIR".into()) };
    wasm_bindgen_cli_support::Bindgen::new().input_path(from).web(true)?.typescript(true).omit_default_module_path(false).generate(to)?;
    Ok(())
}

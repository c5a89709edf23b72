//! Any text: the compiler answers, its findings can be printed, and what it compiles is an image whose text compiles to it again.
//! Seeds: `policies/`, and one with every kind of condition and action.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wskguard_core::policy::Image;

fuzz_target!(|text: &str| {
    match wskguard_policy::compile("text", text) {
        Err(findings) => {
            assert!(findings.has_errors());
            let _ = (findings.render(true), findings.short());
        }
        Ok(compiled) => {
            let image = Image::parse(&compiled.image).expect("a compiled image is valid");
            let shown = wskguard_policy::show(&image);
            let again = wskguard_policy::compile("shown", &shown).unwrap_or_else(|findings| panic!("{findings}"));
            assert!(again.image == compiled.image, "{shown}");
        }
    }
});

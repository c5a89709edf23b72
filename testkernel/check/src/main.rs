//! Runs the cases of faulty.sys in a test-kernel session: `check PATH_OF_FAULTY_SYS [CASE]...`.

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    use probe_protocol::verifier::faulty::Case;
    use testkernel_check::{cases, environment, service::Service, verifier::Verifier};

    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else {
        eprintln!("check PATH_OF_FAULTY_SYS [CASE]...");
        return 2.into();
    };
    let wanted: Vec<String> = arguments.collect();
    let prepared = Verifier::open().and_then(|verifier| Ok((verifier, Service::install("faulty", &file)?)));
    let (verifier, service) = match prepared {
        Ok(both) => both,
        Err(error) => {
            eprintln!("no test kernel: {error}");
            return 2.into();
        }
    };
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|other| other == name);
    let mut failures = 0u8;
    let mut note = |name: &str, failure: Option<String>| match failure {
        None => println!("ok   {name}"),
        Some(why) => {
            println!("FAIL {name}: {why}");
            failures = failures.saturating_add(1);
        }
    };
    for (name, test) in environment::TESTS {
        if chosen(name) {
            note(
                name,
                cases::alone(&verifier, &service, |_| test(&verifier, &service))
                    .err()
                    .map(|error| error.to_string()),
            );
        }
    }
    for (case, expected) in Case::ALL {
        let name = format!("{case:?}");
        if chosen(&name) {
            let outcome = cases::run(&verifier, &service, case, expected);
            note(
                &name,
                outcome.map_or_else(|error| Some(error.to_string()), |outcome| outcome.failure),
            );
        }
    }
    failures.min(1).into()
}

#[cfg(not(windows))]
fn main() {
    eprintln!("check runs in a test-kernel session");
}

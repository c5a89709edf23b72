//! Runs the cases of faulty.sys in a test-kernel session: `check PATH_OF_FAULTY_SYS [CASE]...`.

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    use probe_protocol::verifier::faulty::Case;
    use testkernel_check::{cases, service::Service, verifier::Verifier};

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
    let mut failures = 0u8;
    for case in Case::ALL {
        let name = format!("{case:?}");
        if !wanted.is_empty() && !wanted.contains(&name) {
            continue;
        }
        match cases::run(&verifier, &service, case) {
            Ok(outcome) => match outcome.failure {
                None => println!("ok   {name}"),
                Some(why) => {
                    println!("FAIL {name}: {why}");
                    failures = failures.saturating_add(1);
                }
            },
            Err(error) => {
                println!("FAIL {name}: {error}");
                return 2.into();
            }
        }
    }
    failures.min(1).into()
}

#[cfg(not(windows))]
fn main() {
    eprintln!("check runs in a test-kernel session");
}

//! `policy`: compile, put in force and read back, show, compare. What a policy means is the policy crate's business.

use std::{fs, path::Path};

use serde::Serialize;
use wskguard_core::policy::{Image, ImageError};
use wskguard_policy::{Compiled, Diagnostics, Severity};

use super::{AnyDriver, Context, Ending, explain, explain_refusal, learn, replace};
use crate::{
    cli::PolicyCommand,
    driver::{Error, PolicyInForce},
    exit::{Exit, Failure},
    host::Access,
    names, ntstatus,
    output::count,
};

/// `policy check`, and every other command that finds a policy faulty.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Check {
    /// The file.
    pub(crate) file: String,
    /// Whether it can be loaded.
    pub(crate) valid: bool,
    /// Hash of the compiled image; null when it is not valid.
    pub(crate) hash: Option<String>,
    /// How many rules; null when it is not valid.
    pub(crate) rules: Option<usize>,
    /// Bytes of the compiled image; null when it is not valid.
    pub(crate) bytes: Option<usize>,
    /// What is wrong, or looks wrong.
    pub(crate) findings: Vec<Finding>,
}

/// What is wrong with a policy.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Finding {
    /// `error` or `warning`.
    pub(crate) severity: &'static str,
    /// Line, from 1.
    pub(crate) line: usize,
    /// Column in characters, from 1.
    pub(crate) column: usize,
    /// What is wrong.
    pub(crate) message: String,
    /// What was expected there; may be empty.
    pub(crate) expected: String,
    /// How to mend it; null where there is no advice.
    pub(crate) help: Option<String>,
}

/// `policy load`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Load {
    /// The file.
    pub(crate) file: String,
    /// Generation that is in force now.
    pub(crate) generation: u64,
    /// Its hash, as read back.
    pub(crate) hash: String,
    /// How many rules.
    pub(crate) rules: usize,
}

pub(super) fn run(context: &mut Context<'_, '_>, command: PolicyCommand) -> Ending {
    match command {
        PolicyCommand::Check { file, output } => check(context, &file, output.as_deref()),
        PolicyCommand::Load { file, expect } => load(context, &file, expect),
        PolicyCommand::Show { image } => show(context, image.as_deref()),
        PolicyCommand::Diff { file, other } => diff(context, &file, other.as_deref()),
        PolicyCommand::Explain(args) => explain::run(context, &args),
        PolicyCommand::Learn(args) => learn::run(context, &args),
        PolicyCommand::Lock { yes } => super::lock::run(context, yes),
    }
}

fn check(context: &mut Context<'_, '_>, file: &Path, output: Option<&Path>) -> Ending {
    let text = read(file)?;
    let source = file.display().to_string();
    let outcome = wskguard_policy::compile(&source, &text);
    if context.out.json {
        context.out.document(&checked(source, &outcome)?)?;
    }
    let compiled = match outcome {
        Ok(compiled) => compiled,
        // The document on stdout has the findings.
        Err(_) if context.out.json => return Ok(Exit::PolicyRefused),
        Err(diagnostics) => return Err(faulty(context, &diagnostics)),
    };
    if let Some(output) = output {
        replace(output, &compiled.image)?;
    }
    if !context.out.json {
        warn(context, &compiled.warnings);
        let rules = parse(&compiled.image)?.rule_count();
        let (hash, bytes) = (names::hash(compiled.hash), compiled.image.len());
        context.out.line(&format!(
            "{}: valid, {}, {bytes} bytes, hash {hash}",
            file.display(),
            count(rules as u64, "rule")
        ))?;
    }
    Ok(Exit::Ok)
}

fn checked(file: String, outcome: &Result<Compiled, Diagnostics>) -> Result<Check, Failure> {
    Ok(match outcome {
        Ok(compiled) => Check {
            file,
            valid: true,
            hash: Some(names::hash(compiled.hash)),
            rules: Some(parse(&compiled.image)?.rule_count()),
            bytes: Some(compiled.image.len()),
            findings: findings(&compiled.warnings),
        },
        Err(diagnostics) => Check {
            file,
            valid: false,
            hash: None,
            rules: None,
            bytes: None,
            findings: findings(diagnostics),
        },
    })
}

fn findings(diagnostics: &Diagnostics) -> Vec<Finding> {
    let finding = |diagnostic: &wskguard_policy::Diagnostic| {
        let (line, column) = diagnostics.position(diagnostic.span.start);
        Finding {
            severity: if diagnostic.severity == Severity::Error {
                "error"
            } else {
                "warning"
            },
            line,
            column,
            message: diagnostic.message.clone(),
            expected: diagnostic.label.clone(),
            help: diagnostic.help.clone(),
        }
    };
    diagnostics.list().iter().map(finding).collect()
}

fn load(context: &mut Context<'_, '_>, file: &Path, expect: Option<u64>) -> Ending {
    let compiled = compile(context, file)?;
    let mut driver = context.open(Access::Write)?;
    set(context, &mut driver, &compiled.image, expect)?;
    // What the driver said it did is not what is asked here, but what is in force.
    let now = driver.policy_in_force()?;
    if now.hash != compiled.hash || now.image != compiled.image {
        let message = format!(
            "the policy in force is generation {} with hash {}, not the one that was loaded ({})",
            now.generation,
            names::hash(now.hash),
            names::hash(compiled.hash)
        );
        return Err(Failure::new(Exit::PolicyRefused, message).hint("another policy was loaded at the same time"));
    }
    let rules = parse(&now.image)?.rule_count();
    let (generation, hash) = (now.generation, names::hash(now.hash));
    if context.out.json {
        context.out.document(&Load {
            file: file.display().to_string(),
            generation,
            hash,
            rules,
        })?;
    } else {
        context.out.line(&format!(
            "{}: in force as generation {generation}, hash {hash}, {}",
            file.display(),
            count(rules as u64, "rule")
        ))?;
    }
    Ok(Exit::Ok)
}

/// Hands the image over. Another load that is being carried out is waited for.
fn set(
    context: &mut Context<'_, '_>,
    driver: &mut AnyDriver,
    image: &[u8],
    expect: Option<u64>,
) -> Result<(), Failure> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
    for _ in 0..100 {
        match driver.set_policy(image, expect) {
            Ok(_) => return Ok(()),
            Err(Error::Status {
                status: ntstatus::DEVICE_BUSY,
                ..
            }) => context.host.sleep(PAUSE),
            Err(error) => return Err(refused(explain_refusal(driver, error), error)),
        }
    }
    Err(Failure::new(Exit::Failed, "the driver is busy with other policies"))
}

/// What the driver's refusal of an image means.
fn refused(failure: Failure, error: Error) -> Failure {
    match error {
        _ if failure.exit == Exit::Locked => failure,
        Error::Status {
            status: ntstatus::INVALID_IMAGE_FORMAT,
            ..
        } => Failure::new(
            Exit::PolicyRefused,
            "the driver refused the policy; the old one is in force",
        )
        .hint("this wskguardctl and the driver disagree about the image format: use the one that came with the driver"),
        Error::Status {
            status: ntstatus::REQUEST_NOT_ACCEPTED,
            ..
        } => Failure::new(
            Exit::PolicyRefused,
            "another generation is in force than was expected; nothing was changed",
        )
        .hint("`wskguardctl status` shows the generation in force"),
        _ => failure,
    }
}

fn show(context: &mut Context<'_, '_>, output: Option<&Path>) -> Ending {
    let policy = context.open(Access::Read)?.policy_in_force()?;
    let image = in_force(&policy)?;
    if let Some(output) = output {
        replace(output, &policy.image)?;
    } else {
        let text = wskguard_policy::show(&image);
        if context.out.json {
            let (generation, hash) = (policy.generation, names::hash(policy.hash));
            context.out.document(&Shown {
                generation,
                hash,
                policy: text,
            })?;
        } else {
            context.out.raw(text.as_bytes())?;
        }
    }
    Ok(Exit::Ok)
}

/// `policy show`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Shown {
    /// Generation.
    pub(crate) generation: u64,
    /// Hash.
    pub(crate) hash: String,
    /// The policy as TOML: it compiles to the same image.
    pub(crate) policy: String,
}

fn diff(context: &mut Context<'_, '_>, file: &Path, other: Option<&Path>) -> Ending {
    let new = compile(context, file)?;
    // With two files: from the first to the second. With one: from what is in force to the file.
    let (old, new) = if let Some(other) = other {
        (new.image, compile(context, other)?.image)
    } else {
        let policy = context.open(Access::Read)?.policy_in_force()?;
        in_force(&policy)?;
        (policy.image, new.image)
    };
    let diff = wskguard_policy::diff(&parse(&old)?, &parse(&new)?);
    if context.out.json {
        context.out.document(&diff)?;
    } else {
        context.out.raw(diff.to_string().as_bytes())?;
    }
    Ok(if diff.0.is_empty() { Exit::Ok } else { Exit::Differs })
}

/// Compiles a file; its warnings go to stderr.
pub(super) fn compile(context: &mut Context<'_, '_>, file: &Path) -> Result<Compiled, Failure> {
    let text = read(file)?;
    match wskguard_policy::compile(&file.display().to_string(), &text) {
        Ok(compiled) => {
            warn(context, &compiled.warnings);
            Ok(compiled)
        }
        Err(diagnostics) => Err(faulty(context, &diagnostics)),
    }
}

/// The image of the policy in force.
pub(super) fn in_force(policy: &PolicyInForce) -> Result<Image<'_>, Failure> {
    if policy.image.is_empty() {
        return Err(
            Failure::new(Exit::Failed, "the built-in policy is in force: no policy was loaded")
                .hint("`wskguardctl policy load FILE` loads one"),
        );
    }
    parse(&policy.image)
}

/// An image that is known to be one.
pub(super) fn parse(image: &[u8]) -> Result<Image<'_>, Failure> {
    Image::parse(image).map_err(unreadable)
}

fn unreadable(error: ImageError) -> Failure {
    Failure::new(
        Exit::VersionMismatch,
        format!("the policy's image cannot be read: {error:?}"),
    )
    .hint("use the wskguardctl that came with the driver")
}

fn warn(context: &mut Context<'_, '_>, warnings: &Diagnostics) {
    if !warnings.list().is_empty() && !context.out.json {
        let text = warnings.render(context.out.color_stderr) + "\n";
        context.out.complain(&text);
    }
}

fn faulty(context: &Context<'_, '_>, diagnostics: &Diagnostics) -> Failure {
    let message = if context.out.json {
        diagnostics.short()
    } else {
        diagnostics.render(context.out.color_stderr) + "\n"
    };
    let errors = diagnostics
        .list()
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .count();
    Failure::new(Exit::PolicyRefused, message).hint(format!(
        "{}; docs/POLICY.md describes the format",
        count(errors as u64, "error")
    ))
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::file("read", file, &error))
}

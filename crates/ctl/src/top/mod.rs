//! `top`: what the driver is doing, drawn anew at each look. The device is open only while it is asked, so that the driver can be
//! stopped while this runs.

mod model;
mod screen;

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind};

use crate::{
    cli::TopArgs,
    exit::{Exit, Failure},
    host::Host,
};
use model::{Follower, Look};

/// Runs until somebody presses q.
pub(crate) fn run(host: &mut dyn Host, args: &TopArgs) -> Result<Exit, Failure> {
    let mut follower = Follower::default();
    // The first failure is reported as by every command; later ones are shown, and tried again.
    let mut look = follower.look(host)?;
    let mut terminal = ratatui::try_init()?;
    let ending = watch(&mut terminal, host, args.interval, &mut follower, &mut look);
    ratatui::restore();
    ending
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    host: &mut dyn Host,
    interval: Duration,
    follower: &mut Follower,
    look: &mut Look,
) -> Result<Exit, Failure> {
    let mut paused = false;
    let mut next = Instant::now() + interval;
    loop {
        terminal.draw(|frame| screen::draw(frame, look, paused))?;
        let wait = next.saturating_duration_since(Instant::now());
        if event::poll(wait)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(Exit::Ok),
                KeyCode::Char('c') if key.modifiers.contains(event::KeyModifiers::CONTROL) => return Ok(Exit::Ok),
                KeyCode::Char('p' | ' ') => paused = !paused,
                _ => {}
            }
        }
        if Instant::now() >= next {
            next = Instant::now() + interval;
            if !paused {
                match follower.look(host) {
                    Ok(new) => *look = new,
                    Err(failure) => look.trouble = Some(failure.message),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! The shortest story: steps and faults are left out for as long as the same promise is broken.

use crate::{
    run::run,
    script::{Fault, Step},
    shell::Sabotage,
};

/// Runs at most: a story that takes long to fail stays longer.
const TRIES: usize = 400;

/// What is left of `script` when everything that does not matter is taken out.
pub(crate) fn shrink(
    script: Vec<Step>,
    guarantee: &'static str,
    sabotage: Option<Sabotage>,
) -> Vec<Step> {
    let mut tries = 0;
    let mut fails = |script: &[Step]| {
        tries += 1;
        if tries > TRIES {
            return false;
        }
        let broken = run(script, sabotage, false).verdict.err();
        broken.is_some_and(|broken| broken.guarantee == guarantee)
    };
    let mut script = script;
    let mut size = script.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < script.len() {
            let mut shorter = script.clone();
            shorter.drain(at..(at + size).min(script.len()));
            if fails(&shorter) {
                script = shorter;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    for at in 0..script.len() {
        let mut calmer = script.clone();
        match &mut calmer[at] {
            Step::Work { fault, .. } | Step::Post { fault, .. } => *fault = Fault::None,
            _ => continue,
        }
        if calmer != script && fails(&calmer) {
            script = calmer;
        }
    }
    script
}

//! Given a world, when something comes in, then these are the answers and events.

mod acting;
mod commands;
mod ending;
mod facts;
mod life;
mod limits;
mod properties;
mod shadow;
mod world;

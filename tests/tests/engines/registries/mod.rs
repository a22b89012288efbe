//! Registries that differ from Docker Hub: a real process, one without quota left, and a hostile one.

mod hostile;
mod quota;
mod real;

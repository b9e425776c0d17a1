//! Targets that want to harm the agent, or others by it: each of their files costs its own names at most, and a program that
//! runs beside them has all of its own, in time.

mod attacks;
mod bystander;
mod damaged;
mod forged;
mod loader;
mod odd_texts;
mod paths;
mod walls;

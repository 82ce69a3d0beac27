//! What the house rules say of the tree, held by tests: which way imports go, how long files are,
//! that every column has a comment, that every code for operators has a row in the manual.

mod compose;
mod docs;
mod failpoints;
mod guards;
mod imports;
mod migrations;
mod sizes;
mod tree;

//! The tool for exercises and measurements.

fn main() {
    println!("workshop: nothing here yet");
}

use mctl_conformance::backend::{model::ModelBackend, stock::{StockBackend, OwnPrctl}};
use mctl_conformance::fuzz::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let mut stock = StockBackend::new(Box::new(OwnPrctl)).unwrap();
    let mut model = ModelBackend::new(stock.image().clone());
    let o = FuzzOptions { seed: a[1].parse().unwrap(), time: std::time::Duration::from_secs(a[2].parse().unwrap()), stop_after: a[3].parse().unwrap(), menu: if a.len()>4 {Menu::Policy} else {Menu::Plain}, ..Default::default() };
    let r = match fuzz(&o, &mut model, &mut stock) { Ok(r)=>r, Err(e)=>{ println!("{e}"); return; } };
    println!("{} steps {} histories {:?} notrepro {} -> {} /s", r.steps, r.histories, r.time, r.not_reproduced, r.steps as f64 / r.time.as_secs_f64());
    for (_, t) in r.disagreements { println!("-----\n{t}"); }
}

//! Draws the requests of each second after the return.

use std::{error::Error, path::Path};

use plotters::prelude::*;

use super::simulation::Course;

const SECONDS: u32 = 120;

/// Both courses, one above the other, each on a scale of its own.
pub(crate) fn draw(file: &Path, with: &Course, without: &Course) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(file, (900, 600)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((2, 1));
    for (panel, (title, course)) in panels.iter().zip([("as it is", with), ("without jitter", without)]) {
        let highest = course.requests.iter().copied().max().unwrap_or(0);
        let mut chart = ChartBuilder::on(panel)
            .caption(format!("1,000 agents after an outage, {title}"), ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(35)
            .y_label_area_size(55)
            .build_cartesian_2d(0..SECONDS, 0..highest + highest / 10 + 1)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_desc("seconds after the return")
            .y_desc("requests a second")
            .x_labels(13)
            .draw()?;
        let bars = (0..SECONDS)
            .zip(&course.requests)
            .map(|(second, requests)| Rectangle::new([(second, 0), (second + 1, *requests)], BLUE.mix(0.6).filled()));
        chart.draw_series(bars)?;
    }
    area.present()?;
    Ok(())
}

//! Draws what the agents ask for in each second after the return.

use std::{error::Error, path::Path};

use plotters::prelude::*;

use super::simulation::{Course, Scenario};

const SECONDS: u32 = 240;

/// Both courses, one above the other, on the same scale, with what the database can take.
pub(crate) fn draw(file: &Path, scenario: &Scenario, courses: [(&str, &Course); 2]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(file, (900, 600)).into_drawing_area();
    area.fill(&WHITE)?;
    let highest = courses.iter().flat_map(|(_, course)| &course.lines).copied().max().unwrap_or(0) / 1000;
    let can_take = scenario.lines_per_second / 1000;
    for (panel, (title, course)) in area.split_evenly((2, 1)).iter().zip(courses) {
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
            .y_desc("1,000 lines asked to be written a second")
            .x_labels(13)
            .draw()?;
        let bars = (0..SECONDS)
            .zip(&course.lines)
            .map(|(second, lines)| Rectangle::new([(second, 0), (second + 1, lines / 1000)], BLUE.mix(0.6).filled()));
        chart.draw_series(bars)?;
        chart
            .draw_series(LineSeries::new([(0, can_take), (SECONDS, can_take)], RED))?
            .label("what the database can take")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], RED));
        let mut legend = chart.configure_series_labels();
        legend.position(SeriesLabelPosition::UpperRight).border_style(BLACK.mix(0.3)).background_style(WHITE).draw()?;
    }
    area.present()?;
    Ok(())
}

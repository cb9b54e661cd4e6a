//! Lines over a logarithmic axis, as SVG.

use std::path::Path;

use plotters::prelude::*;

/// One line of a plot.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// How a plot's vertical axis runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vertical {
    /// From 0 on, evenly.
    FromZero,
    /// By powers of ten.
    Logarithmic,
}

/// Draws lines into a file.
pub(crate) fn lines(path: &Path, title: &str, (x, y): (&str, &str), vertical: Vertical, lines: &[Line]) {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let bounds = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (left, right) = bounds(&mut all().map(|(x, _)| x));
    let (bottom, top) = bounds(&mut all().map(|(_, y)| y));
    if left > right {
        return;
    }
    let root = SVGBackend::new(path, (800, 480)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&root);
    chart.caption(title, ("sans-serif", 20)).margin(16).x_label_area_size(44).y_label_area_size(72);
    let across = (left / 1.3..right * 1.3).log_scale();
    macro_rules! draw {
        ($chart:expr) => {{
            let mut chart = $chart;
            let label = |value: &f64| super::report::figure(*value);
            let mut mesh = chart.configure_mesh();
            mesh.x_desc(x).y_desc(y).label_style(("sans-serif", 13)).axis_desc_style(("sans-serif", 14));
            mesh.x_label_formatter(&label).y_label_formatter(&label).light_line_style(WHITE.mix(0.0)).draw().unwrap();
            for (index, line) in lines.iter().enumerate() {
                let colour = Palette99::pick(index).to_rgba();
                let series = chart.draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2))).unwrap();
                series.label(&line.name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
                let dots = line.points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
                chart.draw_series(dots).unwrap();
            }
            let mut labels = chart.configure_series_labels();
            labels.position(SeriesLabelPosition::UpperLeft).label_font(("sans-serif", 13));
            labels.background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw().unwrap();
        }};
    }
    match vertical {
        Vertical::FromZero => draw!(chart.build_cartesian_2d(across, 0.0..top * 1.35).unwrap()),
        Vertical::Logarithmic => draw!(chart.build_cartesian_2d(across, (bottom / 1.5..top * 4.0).log_scale()).unwrap()),
    }
    root.present().unwrap();
}

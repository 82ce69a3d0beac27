//! Figures as a picture.

use std::collections::BTreeMap;

use clap::ValueEnum;
use plotters::{drawing::DrawingAreaErrorKind, prelude::*};

use crate::report::{Report, Run};

const SIZE: (u32, u32) = (860, 460);
const COLOURS: [RGBColor; 6] = [BLUE, RED, GREEN, MAGENTA, BLACK, CYAN];

/// What is drawn over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Picture {
    /// Latency from webhook to visible incident, over alerts a second (w4)
    Load,
    /// CPU of the whole machine for an alert, over the alerts that are stored already
    Size,
}

/// Points of each line, by its name.
type Lines = BTreeMap<String, Vec<(f64, f64)>>;

pub(crate) fn svg(
    picture: Picture,
    reports: &[Report],
) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
    let lines = lines(picture, reports);
    let (caption, x, y) = match picture {
        Picture::Load => (
            "webhook to visible incident",
            "alerts a second, one a body",
            "ms",
        ),
        Picture::Size => (
            "cost of an alert",
            "alerts stored before",
            "CPU ms of the whole machine",
        ),
    };
    let points = || lines.values().flatten();
    let most_x = points().fold(1.0, |most: f64, (x, _)| most.max(*x));
    let most_y = points().fold(1.0, |most: f64, (_, y)| most.max(*y));
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 18))
            .margin(14)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..most_x * 1.05, 0.0..most_y * 1.1)?;
        chart.configure_mesh().x_desc(x).y_desc(y).draw()?;
        for ((name, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour).point_size(3))?
                .label(name.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    Ok(text)
}

fn lines(picture: Picture, reports: &[Report]) -> Lines {
    let mut lines = Lines::new();
    for report in reports {
        for run in &report.runs {
            for (name, point) in points(picture, report.size, run) {
                lines.entry(name).or_default().push(point);
            }
        }
    }
    for points in lines.values_mut() {
        points.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
    }
    lines
}

fn points(picture: Picture, size: u64, run: &Run) -> Vec<(String, (f64, f64))> {
    match picture {
        Picture::Load => {
            let Some((rate, way)) = run.rate.zip(run.way_ms) else {
                return Vec::new();
            };
            let rate = f64::from(rate);
            vec![
                ("p50".to_owned(), (rate, way.p50)),
                ("p99".to_owned(), (rate, way.p99)),
            ]
        }
        Picture::Size => {
            let cost = run.cpu_ms().map(|cost| (size as f64, cost));
            cost.map(|point| (run.workload.clone(), point))
                .into_iter()
                .collect()
        }
    }
}

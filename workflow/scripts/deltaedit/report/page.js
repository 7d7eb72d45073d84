"use strict";
(() => {
  // Tables: a click on a heading sorts by it, numbers by the number a cell begins with.

  const NUMBER = /^[+−-]?(?:\d+\.?\d*|\.\d+)(?:e[+−-]?\d+)?/i;

  function parsed(text) {
    if (/^[+−-]?(inf|∞)/.test(text)) return /^[−-]/.test(text) ? -Infinity : Infinity;
    const found = text.match(NUMBER);
    return found ? Number(found[0].replaceAll("−", "-")) : NaN;
  }

  function key(row, column) {
    const cell = row.cells[column];
    return (cell.dataset.value ?? cell.textContent).trim();
  }

  function sort(table, column, direction) {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, text: key(row, column) }));
    const filled = rows.filter(({ text }) => text !== "");
    const numeric = filled.every(({ text }) => !Number.isNaN(parsed(text)));
    const order = numeric
      ? (a, b) => parsed(a.text) - parsed(b.text) || 0
      : (a, b) => a.text.localeCompare(b.text, "en", { numeric: true });
    filled.sort((a, b) => direction * order(a, b));
    body.append(...filled.map(({ row }) => row));
    body.append(...rows.filter(({ text }) => text === "").map(({ row }) => row));
  }

  function makeSortable(table) {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      heading.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const ascending = heading.getAttribute("aria-sort") !== "ascending";
        for (const other of headings) other.setAttribute("aria-sort", "none");
        heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        sort(table, column, ascending ? 1 : -1);
      });
    });
  }

  // Downloads: browsers refuse long data URIs, so a click hands over the same bytes as a blob.

  function download(event) {
    const link = event.target.closest("a[download]");
    if (!link || !link.href.startsWith("data:")) return;
    event.preventDefault();
    const [head, content] = link.href.slice(5).split(",");
    const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
    const copy = document.createElement("a");
    copy.href = URL.createObjectURL(new Blob([bytes], { type: head.replace(";base64", "") }));
    copy.download = link.download;
    copy.click();
    setTimeout(() => URL.revokeObjectURL(copy.href), 60000);
  }

  // Words in charts

  const escaped = (text) =>
    String(text).replace(/[&<>]/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[one]);
  const minus = (text) => text.replaceAll("-", "−");

  function measure(value, error, digits) {
    if (value === null) return "not known";
    const round = (x, places) =>
      minus(digits === undefined ? String(Number(x.toPrecision(places))) : x.toFixed(digits));
    const sign = value > 0 ? "+" : "";
    const around = error === null ? "" : ` ± ${round(error, 1)}`;
    return sign + round(value, 3) + around;
  }

  function hover(row, label) {
    const seed = row.seed === null ? "" : `, seed ${row.seed}`;
    const lines = [`<b>${escaped(label)}</b>`, escaped(row.variant)];
    lines.push(`${escaped(row.pair)}, sweep ${escaped(row.sweep)}${seed}`);
    if (row.options && row.options !== row.variant) lines.push(...folded(row.options).map(escaped));
    if (row.loss !== null) {
      lines.push(`loss change (${escaped(row.loss)}, nats)`);
      lines.push(`  approximated ${measure(row.approximate_change, row.approximate_stderr)}`);
      lines.push(`  measured ${measure(row.measured_change, row.measured_stderr)}`);
    }
    if (row.score_change !== null) {
      const digits = row.unit === "points" ? 1 : 3;
      const change = measure(row.score_change, row.score_change_stderr, digits);
      const verdict = row.verdict === null ? "" : `, ${row.verdict}`;
      lines.push(`score change ${change} ${escaped(words(row.unit))}${verdict}`);
    }
    return lines.join("<br>");
  }

  const words = (name) => String(name).replaceAll("_", " ");

  function folded(text) {
    const lines = [""];
    for (const part of text.split(", ")) {
      const last = lines[lines.length - 1];
      if (last && last.length + part.length > 38) lines.push(part);
      else lines[lines.length - 1] = last ? `${last}, ${part}` : part;
    }
    return lines;
  }

  // Axes: loss changes span decades on both sides of zero, so they are drawn along arcsinh.

  const TICK_WIDTH = 44; // pixels that the text of a tick takes

  function symmetricLog(changes) {
    const sizes = changes.map(Math.abs).filter((x) => x > 0).sort((a, b) => a - b);
    const small = sizes.length ? sizes[Math.floor(sizes.length / 10)] : 1;
    const linear = 10 ** Math.floor(Math.log10(small));
    const at = (x) => Math.asinh(x / linear / 2) / Math.LN10;
    const low = Math.min(0, ...changes);
    const high = Math.max(0, ...changes);
    const margin = 0.06 * (at(high) - at(low)) || 1;
    const decades = [];
    const last = Math.floor(Math.log10(Math.max(high, -low, linear)));
    for (let n = Math.round(Math.log10(linear)); n <= last; n++) decades.push(n);
    return { at, low, high, decades, range: [at(low) - margin, at(high) + margin] };
  }

  function ticks({ at, low, high, decades, range }, pixels) {
    const unit = pixels / (range[1] - range[0]);
    const step = Math.max(1, Math.ceil(TICK_WIDTH / unit));
    const first = decades.find((n) => at(10 ** n) * unit > TICK_WIDTH) ?? Infinity;
    const chosen = decades.filter((n) => n >= first && (n - first) % step === 0);
    return [
      { value: 0, text: "0" },
      ...chosen.flatMap((n) => [
        { value: 10 ** n, text: power(n) },
        { value: -(10 ** n), text: `−${power(n)}` },
      ]),
    ].filter(({ value }) => value >= low && value <= high);
  }

  const power = (n) => (n < -3 || n > 3 ? `10<sup>${minus(String(n))}</sup>` : String(10 ** n));

  const logAxis = (scale, title) => (pixels) => {
    const marks = ticks(scale, pixels);
    return {
      ...axis(title)(),
      range: scale.range,
      tickvals: marks.map(({ value }) => scale.at(value)),
      ticktext: marks.map(({ text }) => text),
    };
  };

  const axis = (title) => () => ({
    title: { text: title, standoff: 10 },
    automargin: true,
    zeroline: true,
    zerolinecolor: "#8a929c",
    zerolinewidth: 1,
    gridcolor: "#e9ecef",
    linecolor: "#565d66",
    fixedrange: coarse(),
  });

  // These and no others: Plotly's own choice can send the chart to its maker.
  const BUTTONS = ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"];

  const coarse = () => matchMedia("(pointer: coarse)").matches;

  function bars(values, errors, at) {
    return {
      type: "data",
      symmetric: false,
      array: values.map((x, i) => at(x + errors[i]) - at(x)),
      arrayminus: values.map((x, i) => at(x) - at(x - errors[i])),
      thickness: 1,
      width: 0,
    };
  }

  // Charts: each says which rows it can draw and where it puts them.

  const MEASURED = { value: "measured_change", error: "measured_stderr" };
  const APPROXIMATED = { value: "approximate_change", error: "approximate_stderr" };
  const SCORE = { value: "score_change", error: "score_change_stderr" };

  const known = (row, ...names) => names.every((name) => Number.isFinite(row[name]));

  function approximation(rows) {
    const drawn = rows.filter((row) => known(row, "approximate_change", "measured_change"));
    const missing = rows.filter((row) => row.loss !== null).length - drawn.length;
    const scale = symmetricLog(
      drawn.flatMap((row) => [row.measured_change, row.approximate_change]),
    );
    return {
      name: "approximation",
      title: "Approximated against measured loss change",
      caption:
        "On the dashed line the Riemann sum equals the loss change that was measured; below it, the sum is too low. " +
        "Both axes are linear near zero and logarithmic beyond; bars are one standard error." +
        (missing ? ` Without finite numbers, and so not drawn: ${missing}.` : ""),
      rows: drawn,
      x: { ...MEASURED, at: scale.at, axis: logAxis(scale, "measured loss change (nats)") },
      y: { ...APPROXIMATED, at: scale.at, axis: logAxis(scale, "approximated loss change (nats)") },
      shapes: [
        {
          type: "line",
          layer: "below",
          x0: scale.range[0],
          y0: scale.range[0],
          x1: scale.range[1],
          y1: scale.range[1],
          line: { color: "#565d66", width: 1, dash: "dash" },
        },
      ],
    };
  }

  function tradeoff(rows, unit) {
    const drawn = rows.filter(
      (row) => row.unit === unit && known(row, "score_change", "measured_change"),
    );
    const scale = symmetricLog(drawn.map((row) => row.measured_change));
    const said = words(unit);
    return {
      name: `score-${unit}`,
      title: unit === "points" ? "Accuracy against loss" : `Change of ${said} against loss`,
      caption:
        "Left of zero the loss falls, above zero the score rises. Where marks to the right stay near zero, " +
        "an edit raised the loss and kept the score. Bars are one standard error.",
      rows: drawn,
      x: { ...MEASURED, at: scale.at, axis: logAxis(scale, "measured loss change (nats)") },
      y: { ...SCORE, at: (x) => x, axis: axis(`score change (${said})`) },
      shapes: [],
    };
  }

  function traces(chart, methods, shown) {
    const drawn = chart.rows.filter((row) => shown.has(row));
    return Object.entries(methods).map(([method, look]) => {
      const rows = drawn.filter((row) => row.method === method);
      const side = ({ value, error, at }) => {
        const values = rows.map((row) => row[value]);
        const errors = rows.map((row) => row[error] ?? 0);
        return { at: values.map(at), bars: { ...bars(values, errors, at), color: `${look.color}88` } };
      };
      const [x, y] = [side(chart.x), side(chart.y)];
      return {
        type: "scatter",
        mode: "markers",
        name: look.label,
        x: x.at,
        y: y.at,
        error_x: x.bars,
        error_y: y.bars,
        text: rows.map((row) => hover(row, look.label)),
        hovertemplate: "%{text}<extra></extra>",
        marker: {
          color: look.color,
          symbol: look.symbol,
          size: 9,
          opacity: 0.85,
          line: { color: "#fff", width: 0.8 },
        },
      };
    });
  }

  function layout(chart, plot) {
    return {
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "#1b1f24" },
      margin: { l: 60, r: 12, t: 28, b: 56 },
      showlegend: false,
      hovermode: "closest",
      hoverlabel: { bgcolor: "#fff", bordercolor: "#565d66", align: "left", font: { color: "#1b1f24" } },
      dragmode: coarse() ? false : "zoom",
      xaxis: chart.x.axis(plot.clientWidth - 90),
      yaxis: chart.y.axis(plot.clientHeight),
      shapes: chart.shapes,
      uirevision: "kept", // what a reader zoomed to survives the filter
    };
  }

  function place(chart, parent) {
    const figure = document.createElement("figure");
    figure.className = "chart";
    const title = document.createElement("h3");
    title.textContent = chart.title;
    const plot = document.createElement("div");
    plot.className = "plot";
    plot.dataset.chart = chart.name;
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${chart.title}; the table below has the same numbers`);
    const caption = document.createElement("figcaption");
    caption.textContent = chart.caption;
    figure.append(title, plot, caption);
    parent.append(figure);
    return plot;
  }

  function makeCharts({ methods, rows }) {
    const units = new Set(rows.map((row) => row.unit).filter((unit) => unit !== null));
    const charts = [approximation(rows), ...[...units].map((unit) => tradeoff(rows, unit))];
    const parent = document.getElementById("charts");
    parent.hidden = false;
    const drawn = charts
      .filter((chart) => chart.rows.length)
      .map((chart) => ({ chart, plot: place(chart, parent) }));
    return (shown) => {
      for (const { chart, plot } of drawn) {
        Plotly.react(plot, traces(chart, methods, shown), layout(chart, plot), {
          displaylogo: false,
          responsive: true,
          modeBarButtons: [coarse() ? BUTTONS.slice(0, 1) : BUTTONS],
          toImageButtonOptions: { format: "svg", filename: chart.name },
        });
      }
    };
  }

  // The filter holds for the charts and the table of all variants.

  function makeFilter(data) {
    const form = document.getElementById("filter");
    const table = document.getElementById("variants-table");
    const count = document.getElementById("count");
    const lines = [...table.tBodies[0].rows];
    const draw = makeCharts(data);
    const variant = (row) => JSON.stringify([row.pair, row.sweep, row.variant]);
    const total = new Set(data.rows.map(variant)).size;

    function apply() {
      const chosen = new FormData(form);
      const methods = new Set(chosen.getAll("method"));
      const fits = (row, name) => !chosen.get(name) || row[name] === chosen.get(name);
      const shown = new Set(
        data.rows.filter(
          (row) =>
            methods.has(row.method) && ["pair", "loss", "verdict"].every((name) => fits(row, name)),
        ),
      );
      for (const line of lines) line.hidden = !shown.has(data.rows[line.dataset.row]);
      count.textContent = `${new Set([...shown].map(variant)).size} of ${total} variants`;
      draw(shown);
    }

    form.hidden = false;
    form.addEventListener("change", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    for (const button of form.querySelectorAll("[data-methods]"))
      button.addEventListener("click", () => {
        for (const box of form.querySelectorAll("[name=method]"))
          box.checked = button.dataset.methods === "all";
        apply();
      });
    apply();
  }

  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.addEventListener("click", download);
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  const data = document.getElementById("data");
  if (data) makeFilter(JSON.parse(data.textContent));
})();

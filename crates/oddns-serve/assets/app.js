// The page of oddns: asks the API, draws what it answers. No framework, no build step.
// Text from the API is set as text, never as HTML: names come from servers.
"use strict";

(() => {
  const POLL_MS = 2000;
  const FEATURES_EVERY_MS = 10000;
  const SCORE_POINTS = 1200;
  const FEATURES_FIRST = 12;
  const STATES_FIRST = 12;
  const SERVERS_LISTED = 50;
  const FLEET_EVERY_MS = 5000;
  const INCIDENTS_FIRST = 20;
  const INCIDENTS_MORE = 200;
  const HEAT_ROWS = 12;
  const HEAT_ROW_PX = 22;
  const TABLE_ROWS = 12;
  const DRIFT_ROWS = 8;
  // This script comes before that of the charts, so that it can ask meanwhile.
  const scriptsLoaded = new Promise((loaded) => addEventListener("DOMContentLoaded", loaded));
  const COMMANDS = "kubectl|dig|curl|crictl|journalctl|systemctl|ss";

  const app = {
    status: null,
    instance: null, // the server whose charts are shown
    span: null, // show the last so many seconds, or null for all
    zoom: null, // {since, until, words}: show just this, stronger than span
    chosen: null, // id of the incident that the charts are zoomed to
    scores: null,
    incidents: [],
    incidentLimit: INCIDENTS_FIRST,
    search: "", // part of the names of servers that are listed
    kind: null, // only servers of this kind are listed
    fleet: null,
    fleetAt: 0,
    cells: null, // how the map of the fleet is laid out
    heat: null,
    features: null,
    featuresAt: 0,
    allFeatures: false,
    feature: null, // name of the feature shown large
    modelAt: 0,
    chart: null,
    detailChart: null,
    lostSince: null,
    work: Promise.resolve(), // refreshes run one after the other, so that no old answer comes last
    rendered: new Map(), // section -> what it was drawn from, to leave it alone while unchanged
  };

  // ---- Elements ----------------------------------------------------------------------------

  const byId = (id) => document.getElementById(id);

  /** An element with attributes and children; a child that is no node becomes text. */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "onclick") node.addEventListener("click", value);
      else if (value === true) node.setAttribute(name, "");
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  function svg(tag, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  }

  /** True when `section` must be drawn anew because `from` is not what it shows. */
  function changed(section, from) {
    const text = JSON.stringify(from);
    if (app.rendered.get(section) === text) return false;
    app.rendered.set(section, text);
    return true;
  }

  const ICONS = {
    odd: "M12 3 22 20H2zM12 10v4.5M12 17v.4",
    quiet: "M12 2.5a9.5 9.5 0 1 0 0 19 9.5 9.5 0 0 0 0-19zM7.5 12.3l3 3 6-6.6",
    stuck: "M12 2.5a9.5 9.5 0 1 0 0 19 9.5 9.5 0 0 0 0-19zM12 7v6M12 16.4v.4",
    wait: "M12 2.5a9.5 9.5 0 1 0 0 19 9.5 9.5 0 0 0 0-19zM12 7v5.2l3.6 2",
  };

  function icon(kind) {
    const path = svg("path", {
      d: ICONS[kind], fill: "none", stroke: "currentColor",
      "stroke-width": "2", "stroke-linecap": "round", "stroke-linejoin": "round",
    });
    return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, path);
  }

  // ---- Words and numbers -------------------------------------------------------------------

  const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
  const two = (n) => String(n).padStart(2, "0");
  const known = (value) => value !== null && value !== undefined;

  function clock(time) {
    const d = new Date(time * 1000);
    return `${two(d.getUTCHours())}:${two(d.getUTCMinutes())}:${two(d.getUTCSeconds())}`;
  }

  function day(time) {
    const d = new Date(time * 1000);
    return `${d.getUTCDate()} ${MONTHS[d.getUTCMonth()]}`;
  }

  /** Time of day, with the day when it is not the day of `near`. */
  function when(time, near = lastTime()) {
    return near !== null && day(time) === day(near) ? clock(time) : `${day(time)} ${clock(time)}`;
  }

  function lastTime() {
    return app.status?.last ?? null;
  }

  function lasting(seconds) {
    const s = Math.max(0, Math.round(seconds));
    if (s < 60) return `${s} s`;
    if (s < 3600) return s % 60 && s < 600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.round(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
    return `${Math.round(s / 86400)} days`;
  }

  /** About three significant digits, never an exponent for sizes people meet. */
  function digits(value) {
    const size = Math.abs(value);
    if (size === 0) return "0";
    if (size >= 1e15 || size < 1e-6) return value.toExponential(1);
    if (size >= 1000) return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
    const places = Math.max(0, 2 - Math.floor(Math.log10(size)));
    return String(Number(value.toFixed(Math.min(places, 8))));
  }

  function scaled(value, steps) {
    const size = Math.abs(value);
    const [factor, unit] = steps.find(([factor]) => size >= factor) ?? steps[steps.length - 1];
    return `${digits(value / factor)} ${unit}`;
  }

  const SECONDS = [[3600, "h"], [60, "min"], [1, "s"], [1e-3, "ms"], [1e-6, "µs"]];
  const BYTES = [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"], [1, "B"]];

  /** A value of a feature as an operator would write it. */
  function amount(name, unit, value) {
    if (!known(value)) return "missing";
    if (unit === "s") return value === 0 ? "0 s" : scaled(value, SECONDS);
    if (unit === "B") return value === 0 ? "0 B" : scaled(value, BYTES);
    if (unit) return `${digits(value)}${unit.startsWith("/") ? "" : " "}${unit}`;
    if (!name.endsWith("_ratio")) return digits(value);
    return Math.abs(value) < 10 ? `${digits(value * 100)} %` : `${digits(value)}×`;
  }

  const scoreWords = (score) => (known(score) ? (score >= 100 ? digits(score) : score.toFixed(2)) : "–");

  /** A name that may break after its underscores. */
  const breakable = (name) => name.split("_").flatMap((part, at) => (at ? ["_", el("wbr"), part] : [part]));

  const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

  function period(incident) {
    if (!known(incident.end)) return `since ${when(incident.start)}`;
    const end = day(incident.start) === day(incident.end) ? clock(incident.end) : when(incident.end, null);
    return `${when(incident.start)} – ${end}`;
  }

  function sureness(cause) {
    if (cause.name === "unknown") return "No known cause fits.";
    const percent = Math.round(cause.confidence * 100);
    const word = percent >= 80 ? "Very likely" : percent >= 60 ? "Likely" : "Possibly";
    return `${word}: what moved fits this cause to ${percent} %.`;
  }

  // ---- Fleet -------------------------------------------------------------------------------

  const KINDS = { odd: "odd", stuck: "not judged", wait: "warming up", quiet: "quiet" };
  const KIND_OF = { o: "odd", s: "stuck", w: "wait", q: "quiet" };

  const countAll = ({ counts }) => counts.odd + counts.stuck + counts.wait + counts.quiet;

  /** The summary, the map and the search, where there are more servers than cards. */
  function renderFleet() {
    const { status } = app;
    const total = countAll(status);
    const few = total <= STATES_FIRST;
    byId("fleet").hidden = few;
    if (few || !changed("fleet", [status.counts, status.n_instances, app.kind, app.search])) return;
    byId("fleet-count").textContent = digits(total);
    const keepFocus = document.activeElement?.dataset?.focus;
    byId("fleet-kinds").replaceChildren(kindButton(null, `All ${digits(total)}`),
      ...Object.entries(KINDS).map(([kind, word]) => kindButton(kind, `${digits(status.counts[kind])} ${word}`)));
    if (keepFocus) byId("fleet-kinds").querySelector(`[data-focus="${CSS.escape(keepFocus)}"]`)?.focus();
    const shown = Math.min(status.n_instances, SERVERS_LISTED);
    byId("fleet-hint").textContent = status.n_instances > shown
      ? `Below are the ${shown} most urgent of ${digits(status.n_instances)}; find others by name, or choose one in the map.`
      : "Choose a server in the map or below to see its charts.";
  }

  function kindButton(kind, label) {
    return el("button", {
      type: "button", "data-focus": `kind-${kind}`, "data-kind": kind ?? "all", "data-testid": "kind", "aria-pressed": String(app.kind === kind),
      onclick: () => { app.kind = kind; refresh(true); },
    }, kind ? el("span", { class: `dot ${kind}`, "aria-hidden": "true" }) : null, label);
  }

  async function loadFleet() {
    if (countAll(app.status) <= STATES_FIRST || Date.now() - app.fleetAt < FLEET_EVERY_MS) return;
    app.fleetAt = Date.now();
    app.fleet = await ask("fleet");
    drawFleet();
  }

  /** Every server is a cell, in the order of names; as large as fits. */
  function drawFleet() {
    const canvas = byId("fleet-map");
    const { instances, kinds } = app.fleet;
    const width = canvas.parentElement.clientWidth - 40;
    const size = Math.max(4, Math.min(16, Math.floor(Math.sqrt((width * 240) / instances.length))));
    const columns = Math.max(1, Math.floor(width / size));
    const rows = Math.ceil(instances.length / columns);
    app.cells = { size, columns };
    const ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [columns * size * ratio, rows * size * ratio];
    canvas.style.width = `${columns * size}px`;
    canvas.style.height = `${rows * size}px`;
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    const fills = { o: color("bad"), s: color("warn"), w: color("wait-cell"), q: color("quiet-cell") };
    const gap = size > 6 ? 2 : 1;
    for (let at = 0; at < instances.length; at += 1) {
      ctx.fillStyle = fills[kinds[at]];
      ctx.fillRect((at % columns) * size, Math.floor(at / columns) * size, size - gap, size - gap);
    }
    const chosen = instances.indexOf(app.instance);
    if (chosen >= 0) {
      ctx.strokeStyle = color("ink");
      ctx.lineWidth = 2;
      ctx.strokeRect((chosen % columns) * size, Math.floor(chosen / columns) * size, size - gap, size - gap);
    }
    const { counts } = app.status;
    canvas.dataset.cells = instances.length;
    canvas.setAttribute("aria-label", `${instances.length} servers: ${Object.entries(KINDS).map(([kind, word]) => `${counts[kind]} ${word}`).join(", ")}`);
  }

  /** The server under the pointer. */
  function cellAt(event) {
    if (!app.fleet || !app.cells) return -1;
    const at = Math.floor(event.offsetY / app.cells.size) * app.cells.columns + Math.floor(event.offsetX / app.cells.size);
    return at < app.fleet.instances.length ? at : -1;
  }

  function chooseInstance(instance) {
    app.instance = instance;
    app.chosen = null;
    app.fleetAt = 0;
    setZoom(null);
  }

  // ---- State of each server ----------------------------------------------------------------

  const RANK = { odd: 0, stuck: 1, wait: 2, quiet: 3 };

  function incidentOf(instance) {
    return app.incidents.find((incident) => incident.instance === instance.instance) ?? null;
  }

  /** What to say about a server: a kind, a headline, and why. */
  function verdict(instance) {
    if (!app.status.live && instance.state === "scoring") return pastVerdict(instance);
    switch (instance.state) {
      case "warming_up":
        return { kind: "wait", headline: `Warming up: ${instance.seen} of ${instance.needed}`, why: eta(instance) };
      case "no_data":
        return { kind: "stuck", headline: "No data", why: sentence(instance.words.replace(/^no data: ?/, "")) };
      case "not_coredns":
        return { kind: "stuck", headline: "Not CoreDNS", why: sentence(instance.words.replace(/^not CoreDNS: ?/, "")) };
      case "stale":
        return { kind: "stuck", headline: "Stale", why: sentence(instance.words.replace(/^stale: ?/, "")) };
      case "schema_mismatch":
        return { kind: "stuck", headline: "The model does not fit", why: sentence(instance.words) };
      case "scoring":
        return liveVerdict(instance);
      default:
        return { kind: "wait", headline: sentence(instance.words), why: instance.trouble ?? "" };
    }
  }

  function sentence(text) {
    const start = text.charAt(0).toUpperCase() + text.slice(1);
    return start && !/[.!?]$/.test(start) ? `${start}.` : start;
  }

  function eta(instance) {
    if (!known(instance.eta)) return "Scores begin when one window is full.";
    return `The first score comes in about ${lasting(instance.eta)}.`;
  }

  function liveVerdict(instance) {
    const incident = incidentOf(instance);
    const lost = instance.trouble ? `The last scrape failed: ${instance.trouble}. ` : "";
    if (incident && !known(incident.end)) {
      return {
        kind: "odd", headline: incident.cause.summary,
        why: `${lost}Odd since ${when(incident.start)}. ${topMovement(incident)}`,
      };
    }
    if (instance.alarm) return { kind: "odd", headline: "Odd", why: `${lost}The score is above the alarm line.` };
    if (instance.score > 1) {
      return { kind: "stuck", headline: "Maybe odd", why: `${lost}The score is above the alarm line, but not for long enough to alarm.` };
    }
    if (lost) return { kind: "stuck", headline: "Scrapes fail", why: lost };
    return { kind: "quiet", headline: "Quiet", why: quietSince(instance, incident) };
  }

  function quietSince(instance, incident) {
    const since = incident ? incident.end : instance.since;
    const words = since ? ` Quiet since ${when(since)}.` : "";
    if (!incident) return `No incidents.${words}`;
    return `${plural(instance.n_incidents, "incident")} before.${words}`;
  }

  function pastVerdict(instance) {
    const range = known(instance.first) ? `Recorded ${when(instance.first, null)} – ${clock(instance.last)}.` : "";
    if (!instance.n_incidents) return { kind: "quiet", headline: "Nothing odd found", why: range };
    return {
      kind: "odd", headline: `${plural(instance.n_incidents, "incident")} found`,
      why: `${range} The latest: ${incidentOf(instance)?.cause.summary ?? ""}`,
    };
  }

  function topMovement(incident) {
    const top = incident.movements[0];
    if (!top) return "";
    const [from, to] = [amount(top.feature, top.unit, top.expected), amount(top.feature, top.unit, top.observed)];
    return `${top.doc ? top.doc.replace(/\.$/, "") : top.feature}: ${from} expected, ${to} seen.`;
  }

  function stateCard(instance, { kind, headline, why }) {
    const past = !app.status.live;
    const score = past ? peakOf(instance) : instance.score;
    const progress = known(instance.needed)
      ? el("div", { class: "progress", "aria-hidden": "true" }, el("i")) : null;
    if (progress) progress.firstChild.style.width = `${(100 * instance.seen) / instance.needed}%`;
    const words = el("div", {},
      el("p", { class: "server" }, countAll(app.status) > 1
        ? el("button", { type: "button", class: "link", title: "Show its charts", "data-focus": `server-${instance.instance}`, onclick: () => chooseInstance(instance.instance) }, instance.instance)
        : instance.instance),
      el("p", { class: "headline" }, headline),
      el("p", { class: "why" }, ...prose(why)),
      progress);
    const figure = known(score)
      ? el("div", { class: "figure" }, el("strong", {}, scoreWords(score)), el("span", {}, past ? "highest score" : "score, alarm at 1"))
      : el("div");
    return el("article", {
      class: `state ${kind}`, "data-testid": "state", "data-state": instance.state,
      "data-kind": kind, "data-instance": instance.instance, "data-alarm": String(instance.alarm),
    }, icon(kind), words, figure);
  }

  function peakOf(instance) {
    const peaks = app.incidents.filter((i) => i.instance === instance.instance).map((i) => i.peak_score);
    if (peaks.length) return Math.max(...peaks);
    return app.scores?.instance === instance.instance ? app.scores.peak?.score : null;
  }

  function renderNow() {
    const listed = app.status.instances.slice(0, Math.min(app.status.n_instances, SERVERS_LISTED));
    const cards = listed.map((instance) => [instance, verdict(instance)]);
    if (!changed("now", [cards, app.status.live ? 0 : app.scores?.peak])) return;
    cards.sort((a, b) => RANK[a[1].kind] - RANK[b[1].kind]);
    const nodes = cards.map(([instance, words]) => stateCard(instance, words));
    const section = byId("now");
    section.classList.toggle("many", cards.length > 1);
    if (!nodes.length) nodes.push(el("p", { class: "panel empty" }, countAll(app.status) ? "No server is like that." : "No server is watched yet."));
    const rest = nodes.splice(countAll(app.status) > STATES_FIRST ? STATES_FIRST / 2 : STATES_FIRST);
    const keepFocus = document.activeElement?.dataset?.focus;
    section.replaceChildren(...nodes);
    if (keepFocus) section.querySelector(`[data-focus="${CSS.escape(keepFocus)}"]`)?.focus();
    if (rest.length) {
      section.append(el("details", { class: "panel" }, el("summary", {}, `${plural(rest.length, "more server")}`), ...rest));
    }
    const n_odd = app.status.counts.odd;
    document.title = `${n_odd ? "● " : ""}oddns${app.status.title ? ` – ${app.status.title}` : ""}`;
    announce(cards);
  }

  /** Tells a screen reader when a server turns odd or quiet again. */
  function announce(cards) {
    const odd = cards.filter(([, words]) => words.kind === "odd");
    const text = odd.length
      ? odd.map(([instance, words]) => `${instance.instance}: ${words.headline}`).join("; ")
      : "Nothing is odd.";
    if (byId("announce").textContent !== text) byId("announce").textContent = text;
  }

  // ---- Charts ------------------------------------------------------------------------------

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const utc = (time) => uPlot.tzDate(new Date(time * 1000), "Etc/UTC");

  function timeAxis() {
    return {
      stroke: () => color("soft"), grid: { stroke: () => color("grid"), width: 1 },
      ticks: { stroke: () => color("grid"), width: 1, size: 5 }, font: "12px system-ui, sans-serif", space: 70,
      values: [
        [86400, "{D} {MMM}", null, null, null, null, null, null, 1],
        [3600, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
        [60, "{HH}:{mm}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
        [1, "{HH}:{mm}:{ss}", "\n{D} {MMM}", null, "\n{D} {MMM}", null, null, null, 1],
      ],
    };
  }

  function valueAxis(more) {
    return {
      stroke: () => color("soft"), grid: { stroke: () => color("grid"), width: 1 }, ticks: { show: false },
      font: "12px system-ui, sans-serif", size: 58, ...more,
    };
  }

  /** Round numbers for an axis that is linear up to about 1 and logarithmic above. */
  function scoreSplits(plot, _axis, _min, max) {
    const rounds = [0, 1, 0.5];
    for (let decade = 1; decade < 1e9; decade *= 10) rounds.push(10 * decade, 2 * decade, 5 * decade);
    const kept = [];
    for (const value of rounds.filter((value) => value <= max)) {
      const place = plot.valToPos(value, "y");
      if (kept.every((other) => Math.abs(plot.valToPos(other, "y") - place) >= 20)) kept.push(value);
    }
    return kept.sort((a, b) => a - b);
  }

  function shadeAlarms(plot, alarms, half) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.fillStyle = color("bad-wash");
    for (const [start, end] of alarms) {
      const from = Math.max(plot.valToPos(start - half, "x", true), bbox.left);
      const to = Math.min(plot.valToPos(end + half, "x", true), bbox.left + bbox.width);
      if (to > from) ctx.fillRect(from, bbox.top, Math.max(to - from, 2), bbox.height);
    }
    ctx.restore();
  }

  function drawAlarmLine(plot) {
    const { ctx, bbox } = plot;
    const y = plot.valToPos(1, "y", true);
    if (y < bbox.top) return;
    const ratio = uPlot.pxRatio;
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = color("bad");
    ctx.lineWidth = 1.5 * ratio;
    ctx.setLineDash([6 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "bottom";
    ctx.fillText("alarm line", bbox.left + 4 * ratio, y - 3 * ratio);
    ctx.restore();
  }

  /** A box beside the pointer that says what is under it. */
  function tooltip(words) {
    const box = el("div", { class: "tip", hidden: true });
    return {
      hooks: {
        init: [(plot) => plot.over.append(box)],
        setCursor: [(plot) => {
          const { idx, left, top } = plot.cursor;
          box.hidden = !known(idx) || left < 0;
          if (box.hidden) return;
          box.replaceChildren(...words(idx));
          const flip = left > plot.over.clientWidth - box.offsetWidth - 24;
          box.style.left = `${flip ? left - box.offsetWidth - 12 : left + 12}px`;
          box.style.top = `${Math.max(0, Math.min(top, plot.over.clientHeight - box.offsetHeight))}px`;
        }],
      },
    };
  }

  function zoomOnDrag(plot) {
    if (plot.select.width < 5) return;
    const since = plot.posToVal(plot.select.left, "x");
    const until = plot.posToVal(plot.select.left + plot.select.width, "x");
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    app.chosen = null;
    setZoom({ since, until, words: `Zoomed to ${when(since)} – ${when(until)}.` });
  }

  function chartOptions(node, height, series, axis, scale, plugins, hooks) {
    return {
      width: Math.max(node.clientWidth, 200), height, tzDate: utc, padding: [10, 8, 0, 0],
      scales: { x: { time: true }, y: scale }, series: [{}, ...series], axes: [timeAxis(), axis],
      legend: { show: false }, plugins, hooks: { setSelect: [zoomOnDrag], ...hooks },
      cursor: {
        drag: { x: true, y: false, setScale: false }, points: { size: 7 },
        bind: { dblclick: () => () => { setZoom(null); return null; } },
      },
    };
  }

  function stepSeconds(times) {
    return times.length > 1 ? (times[times.length - 1] - times[0]) / (times.length - 1) : 15;
  }

  /** Reads `app.scores` at each drawing, so that new data need no new chart. */
  function scoreChart(node) {
    const line = { stroke: () => color("line"), width: 1.75, points: { show: () => app.scores.times.length < 3 } };
    const axis = valueAxis({ splits: scoreSplits, filter: (_plot, splits) => splits, values: (_plot, splits) => splits.map(String), size: 44 });
    const scale = { distr: 4, asinh: 1, range: (_plot, _min, max) => [0, Math.max(1.6, (max ?? 0) * 1.25)] };
    const tip = tooltip((at) => [
      el("strong", {}, known(app.scores.scores[at]) ? `score ${scoreWords(app.scores.scores[at])}` : "no score"),
      ` at ${when(app.scores.times[at])}`,
    ]);
    const hooks = {
      drawClear: [(plot) => shadeAlarms(plot, app.scores.alarms, stepSeconds(app.scores.times) / 2)],
      draw: [drawAlarmLine, (plot) => renderTruths(plot, app.scores.truths)],
    };
    const height = window.innerWidth < 560 ? 230 : 280;
    const options = chartOptions(node, height, [line], axis, scale, [tip], hooks);
    return new uPlot(options, [app.scores.times, app.scores.scores], node);
  }

  function renderScores() {
    const scores = app.scores;
    const node = byId("score-chart");
    const scored = scores.scores.filter(known).length;
    node.dataset.points = scored;
    node.dataset.peak = scores.peak ? scores.peak.score : "";
    node.dataset.alarms = scores.alarms.length;
    node.dataset.instance = scores.instance;
    node.setAttribute("aria-label", scoreAlternative(scores, scored));
    const reuse = app.chart !== null && app.rendered.has("scores") && scored > 0;
    if (!changed("scores", scores)) return;
    byId("legend-truth").hidden = !scores.truths.length;
    byId("score-legend").hidden = byId("score-details").hidden = !scored;
    renderScoreTable(scores);
    if (reuse) {
      app.chart.setData([scores.times, scores.scores]);
      return;
    }
    app.chart?.destroy();
    app.chart = null;
    if (!scored) {
      byId("truth").hidden = true;
      node.replaceChildren(el("p", { class: "nothing" }, noScoreWords()));
      return;
    }
    node.replaceChildren();
    app.chart = scoreChart(node);
  }

  function noScoreWords() {
    if (app.zoom || app.span) return "No score in the time shown.";
    const instance = app.status.instances.find((i) => i.instance === app.instance);
    return instance ? `No score yet. ${sentence(instance.words)}` : "No score yet.";
  }

  function scoreAlternative(scores, scored) {
    const name = `Anomaly score of ${scores.instance} over time`;
    if (!scored) return `${name}: none yet`;
    const [first, last] = [scores.times[0], scores.times[scores.times.length - 1]];
    const alarms = scores.alarms.length
      ? `${plural(scores.alarms.length, "stretch", "stretches")} above the alarm line`
      : "never in alarm";
    return `${name}, ${when(first)} to ${when(last)}: highest ${scoreWords(scores.peak.score)} at ${when(scores.peak.time)}, ${alarms}`;
  }

  function renderScoreTable(scores) {
    const rows = scores.times.map((time, at) => [time, scores.scores[at]]).filter(([, score]) => score !== null);
    rows.sort((a, b) => b[1] - a[1]);
    const inAlarm = (time) => scores.alarms.some(([start, end]) => time >= start && time <= end);
    const body = rows.slice(0, TABLE_ROWS).map(([time, score]) => el("tr", {},
      el("td", {}, when(time)), el("td", { class: "num" }, scoreWords(score)), el("td", {}, inAlarm(time) ? "alarm" : "")));
    const head = el("tr", {}, el("th", {}, "Time (UTC)"), el("th", { class: "num" }, "Score"), el("th", {}, ""));
    byId("score-table").replaceChildren(el("table", {}, el("thead", {}, head), el("tbody", {}, ...body)));
  }

  /** Puts spans whose bars or labels would overlap on lanes of their own. */
  function lanes(spans) {
    const ends = [];
    for (const span of [...spans].sort((a, b) => a.left - b.left)) {
      span.lane = ends.findIndex((end) => end + 6 <= span.left);
      if (span.lane < 0) span.lane = ends.length;
      ends[span.lane] = span.right;
    }
    return ends.length;
  }

  const LETTER_PX = 6.6; // a little more than the mean at 12px, so that labels rather stand beside

  /** Where a truth goes, in pixels; its label stands in the bar, or beside it when it is short. */
  function placed(plot, truth, width) {
    const from = Math.max(0, plot.valToPos(truth.start, "x"));
    const size = Math.max(4, Math.min(width, plot.valToPos(truth.end, "x")) - from);
    const label = truth.kind.replaceAll("_", " ");
    const letters = label.length * LETTER_PX + 12;
    if (letters <= size) return { truth, label, from, size, side: "in", left: from, right: from + size };
    if (from + size + letters <= width) return { truth, label, from, size, side: "after", left: from, right: from + size + letters };
    return { truth, label, from, size, side: "before", left: from - letters, right: from + size };
  }

  function renderTruths(plot, truths) {
    const strip = byId("truth");
    const left = plot.bbox.left / uPlot.pxRatio;
    const width = plot.bbox.width / uPlot.pxRatio;
    const { min, max } = plot.scales.x;
    const shown = truths.filter((truth) => truth.end >= min && truth.start <= max)
      .map((truth) => placed(plot, truth, width));
    strip.hidden = !shown.length;
    strip.style.height = `${26 * lanes(shown)}px`;
    const spans = shown.map(({ truth, label, from, size, side, lane }) => {
      const words = `${truth.kind}, ${when(truth.start)} – ${clock(truth.end)}${truth.anomalous ? "" : " (harmless change)"}`;
      const kind = `span ${side}${truth.anomalous ? "" : " benign"}`;
      const span = el("span", { class: kind, title: words, "data-kind": truth.kind }, el("b", {}, label));
      span.style.left = `${left + from}px`;
      span.style.width = `${size}px`;
      span.style.top = `${2 + 26 * lane}px`;
      return span;
    });
    strip.replaceChildren(...spans);
    strip.setAttribute("aria-label", `Really injected: ${truths.map((t) => `${t.kind} ${when(t.start)} to ${clock(t.end)}`).join("; ")}`);
    strip.setAttribute("role", "img");
  }

  // ---- Heat map ----------------------------------------------------------------------------

  function renderHeat() {
    const { heat } = app;
    const width = byId("score-chart").clientWidth;
    byId("heat").hidden = !heat.features.length;
    if (!heat.features.length || !changed("heat", [heat, width])) return;
    byId("heat-hint").textContent = "Each row is a feature, each column a moment; the stronger the colour, the more the feature adds to the score.";
    byId("heat-names").replaceChildren(...heat.features.map((feature) => el("li", {}, el("button", {
      type: "button", class: "link", title: feature.doc, "data-focus": `heat-${feature.name}`, onclick: () => showFeature(feature.name),
    }, feature.name))));
    drawHeat();
    const [first, last] = [heat.times[0], heat.times[heat.times.length - 1]];
    byId("heat-times").replaceChildren(el("span", {}, when(first)), el("span", {}, when(last)));
  }

  function drawHeat() {
    const { heat } = app;
    const canvas = byId("heat-map");
    const [width, height] = [canvas.parentElement.clientWidth, heat.features.length * HEAT_ROW_PX];
    const ratio = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    canvas.style.height = `${height}px`;
    const ctx = canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    const size = width / heat.times.length;
    heat.features.forEach((feature, row) => {
      ctx.globalAlpha = 1;
      ctx.fillStyle = color("grid");
      ctx.fillRect(0, row * HEAT_ROW_PX + 1, width, HEAT_ROW_PX - 2);
      ctx.fillStyle = color("heat");
      feature.shares.forEach((share, at) => {
        const score = heat.scores[at] ?? 0;
        ctx.globalAlpha = Math.min(1, (share * Math.min(score, 10)) / 2);
        ctx.fillRect(at * size, row * HEAT_ROW_PX + 1, Math.ceil(size), HEAT_ROW_PX - 2);
      });
    });
    canvas.dataset.rows = heat.features.length;
    const names = heat.features.slice(0, 3).map((feature) => feature.name).join(", ");
    canvas.setAttribute("aria-label", `Contributions to the score over time; most come from ${names}`);
  }

  function showFeature(name) {
    chooseFeature(name);
    byId("features-heading").scrollIntoView({ block: "start" });
  }

  function listenHeat() {
    const [canvas, tip] = [byId("heat-map"), byId("heat-tip")];
    canvas.addEventListener("mousemove", (event) => {
      const { heat } = app;
      const at = Math.floor((event.offsetX / canvas.clientWidth) * heat.times.length);
      const feature = heat.features[Math.floor(event.offsetY / HEAT_ROW_PX)];
      tip.hidden = !feature || !known(heat.times[at]);
      if (tip.hidden) return;
      tip.replaceChildren(el("strong", {}, `${Math.round(feature.shares[at] * 100)} %`), ` of score ${scoreWords(heat.scores[at])} at ${when(heat.times[at])}`);
      const flip = event.offsetX > canvas.clientWidth - tip.offsetWidth - 24;
      tip.style.left = `${flip ? event.offsetX - tip.offsetWidth - 12 : event.offsetX + 12}px`;
      tip.style.top = `${Math.floor(event.offsetY / HEAT_ROW_PX) * HEAT_ROW_PX}px`;
    });
    canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
  }

  // ---- Incidents ---------------------------------------------------------------------------

  function renderIncidents() {
    const { incidents } = app;
    byId("incident-count").textContent = incidents.length ? `${app.incidentTotal}` : "";
    const going = incidents.some((incident) => !known(incident.end));
    const shown = incidents.length ? [incidents, app.chosen, going && lastTime(), app.sayTrouble] : app.status.instances;
    if (!changed("incidents", shown)) return;
    const keepFocus = document.activeElement?.dataset?.focus;
    const list = byId("incidents");
    if (!incidents.length) {
      list.replaceChildren(el("p", { class: "panel empty", "data-testid": "no-incidents" }, emptyWords()));
      return;
    }
    list.replaceChildren(...incidents.map(incidentCard));
    if (keepFocus) list.querySelector(`[data-focus="${CSS.escape(keepFocus)}"]`)?.focus();
  }

  function emptyWords() {
    const since = app.status.instances.filter((i) => i.state === "scoring").map((i) => i.since).filter(known);
    if (!since.length) return "No incidents. Nothing has been scored yet.";
    const words = `No incidents. Quiet since ${when(Math.min(...since))}.`;
    return app.status.live ? words : "No incidents in this recording.";
  }

  function incidentCard(incident) {
    const ongoing = !known(incident.end);
    const until = ongoing ? lastTime() : incident.end;
    const many = countAll(app.status) > 1;
    const head = el("div", { class: "incident-head" },
      el("span", { class: `badge ${incident.severity}` }, incident.severity),
      ongoing ? el("span", { class: "badge ongoing" }, "going on") : null,
      el("span", { class: "when" }, period(incident)),
      el("span", { class: "where" }, `${lasting(until - incident.start)}${many ? ` on ${incident.instance}` : ""}`),
      el("button", {
        type: "button", class: "button", "data-focus": `show-${incident.id}`, "data-testid": "show-incident",
        "aria-pressed": String(app.chosen === incident.id), onclick: () => chooseIncident(incident),
      }, "Show in charts"),
      copyButton("Copy link", () => linkTo(incident), "button", `link-${incident.id}`));
    return el("article", {
      class: `incident ${incident.severity}${app.chosen === incident.id ? " chosen" : ""}`,
      id: `incident-${incident.id}`, "data-testid": "incident", "data-cause": incident.cause.name,
      "data-start": incident.start, "data-end": incident.end ?? "", "data-instance": incident.instance,
    },
    head,
    el("h3", {}, incident.cause.summary),
    el("p", { class: "sure" }, `${sureness(incident.cause)} Highest score ${scoreWords(incident.peak_score)} at ${when(incident.peak)}.`),
    otherCausesOf(incident),
    incident.n_servers > 1 ? el("p", { class: "hint", "data-testid": "together" }, `The same trouble on ${incident.n_servers} servers, told as one alert.`) : null,
    el("div", { class: "incident-body" }, movementsOf(incident), nextStepsOf(incident)),
    feedbackOf(incident));
  }

  const linkTo = (incident) => `${location.origin}${location.pathname}#incident-${encodeURIComponent(incident.id)}`;

  /** What else it may be, likeliest first; null when nothing speaks for anything else. */
  function otherCausesOf(incident) {
    if (!incident.alternatives?.length) return null;
    const words = incident.alternatives.map((cause) => `${cause.summary} (${Math.round(cause.confidence * 100)} %)`);
    return el("p", { class: "hint", "data-testid": "alternatives" }, `Or else: ${words.join(" ")}`);
  }

  function movementsOf(incident) {
    const head = el("tr", {}, el("th", {}, "What moved"), el("th", { class: "num" }, "Expected"),
      el("th", { class: "arrow" }, el("span", { class: "visually-hidden" }, "became")),
      el("th", { class: "num" }, "Seen"), el("th", { class: "share" }, "Part"));
    const most = Math.max(...incident.movements.map((m) => m.share));
    const rows = incident.movements.map((m) => el("tr", { "data-feature": m.feature },
      el("td", { class: "movement-name" },
        el("button", { type: "button", title: "Show this feature over time", "data-focus": `${incident.id}-${m.feature}`, onclick: () => showMovement(incident, m.feature) }, ...breakable(m.feature)),
        m.doc ? el("small", {}, m.doc) : null),
      el("td", { class: "num" }, amount(m.feature, m.unit, m.expected)),
      el("td", { class: "arrow", "aria-hidden": "true" }, "→"),
      el("td", { class: "num" }, el("strong", {}, amount(m.feature, m.unit, m.observed))),
      el("td", { class: "share" }, shareBar(m.share, most))));
    return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, ...rows)));
  }

  function shareBar(share, most) {
    const bar = el("i", { role: "img", "aria-label": `${Math.round(share * 100)} %`, title: `${Math.round(share * 100)} % of the deviation` });
    bar.style.width = `${Math.max(4, (100 * share) / (most || 1))}%`;
    return bar;
  }

  function nextStepsOf(incident) {
    const steps = incident.cause.next_steps.map((text) => el("li", {}, el("div", {}, ...stepNodes(text))));
    return el("div", {},
      el("h4", {}, "What to do next"),
      el("ol", { class: "steps" }, ...steps),
      el("p", { class: "hint" },
        copyButton("Copy the incident as text", () => incidentText(incident), "link", `text-${incident.id}`)));
  }

  const SAID = { right: "You said: rightly told.", normal: "You said: this was normal." };

  /** Buttons to say what became of it; null where nothing can be kept. */
  function feedbackOf(incident) {
    if (!app.status.takes_feedback) return null;
    const button = (verdict, label) => el("button", {
      type: "button", class: "button", "data-focus": `${verdict}-${incident.id}`, "data-testid": `feedback-${verdict}`,
      "aria-pressed": String(incident.feedback === verdict), onclick: () => say(incident, verdict),
    }, label);
    const many = incident.n_servers > 1 ? ` Counts for all ${incident.n_servers} servers of this trouble.` : "";
    return el("div", { class: "feedback", role: "group", "aria-label": "What do you say of this incident?" },
      button("right", "Was right"), button("normal", "Was normal"),
      el("span", { class: "hint", role: "status" }, app.sayTrouble ?? `${SAID[incident.feedback] ?? ""}${many}`.trim()));
  }

  async function say(incident, verdict) {
    const body = JSON.stringify({ incident: incident.id, verdict });
    try {
      const answer = await fetch("/api/v1/feedback", { method: "POST", headers: { "Content-Type": "application/json" }, body });
      if (!answer.ok) throw new Error((await answer.json()).error);
      app.sayTrouble = null;
    } catch (error) {
      app.sayTrouble = `This could not be kept: ${error.message}`;
    }
    await loadIncidents();
    renderIncidents();
  }

  const COMMAND = new RegExp(`(^|[:?] )((?:${COMMANDS}) .+?)(?=: |, | from |$)(?:: )?`);

  /** A step as prose, with the command in it set apart so that it can be copied. */
  function stepNodes(text) {
    const found = COMMAND.exec(text);
    if (!found) return [el("p", {}, ...prose(text))];
    const before = (text.slice(0, found.index) + found[1]).trim();
    const after = text.slice(found.index + found[0].length).replace(/^, /, "").trim();
    const command = found[2];
    return [
      before ? el("p", {}, ...prose(before)) : null,
      el("div", { class: "command" }, el("code", {}, command), copyButton("Copy", () => command, "button")),
      after ? el("p", {}, ...prose(after)) : null,
    ].filter(Boolean);
  }

  /** Text with `backticks` as code. */
  function prose(text) {
    return text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
  }

  function copyButton(label, text, kind, focus = null) {
    const button = el("button", { type: "button", class: kind, "data-focus": focus, "aria-label": label === "Copy" ? `Copy ${text()}` : null }, label);
    button.addEventListener("click", async () => {
      const done = await copy(text());
      button.textContent = done ? "Copied" : "Select and copy by hand";
      setTimeout(() => { button.textContent = label; }, 1500);
    });
    return button;
  }

  /** Copies; over plain HTTP to another host browsers offer only the old way. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = el("textarea", { class: "visually-hidden" });
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }

  function incidentText(incident) {
    const moved = incident.movements.map((m) => `- ${m.feature}: ${amount(m.feature, m.unit, m.expected)} expected, ${amount(m.feature, m.unit, m.observed)} seen`);
    return [
      `${incident.severity.toUpperCase()}: ${incident.cause.summary}`,
      `${incident.instance}, ${day(incident.start)}, ${period(incident)} UTC, highest score ${scoreWords(incident.peak_score)} (alarm at 1)`,
      sureness(incident.cause), "What moved:", ...moved,
      "Next:", ...incident.cause.next_steps.map((step) => `- ${step}`),
    ].join("\n");
  }

  function chooseIncident(incident, scroll = true) {
    app.chosen = incident.id;
    app.instance = incident.instance;
    const end = incident.end ?? lastTime() ?? incident.start;
    const margin = Math.max(120, (end - incident.start) * 0.75);
    const words = `Zoomed to the incident ${period(incident)}: ${incident.cause.summary}`;
    setZoom({ since: incident.start - margin, until: end + margin, words });
    history.replaceState(null, "", `#incident-${incident.id}`);
    if (scroll) byId("score-heading").scrollIntoView({ block: "start", behavior: "smooth" });
  }

  function showMovement(incident, feature) {
    app.feature = feature;
    chooseIncident(incident, false);
    byId("features-heading").scrollIntoView({ block: "start", behavior: "smooth" });
  }

  // ---- Features ----------------------------------------------------------------------------

  /** Whether features are shown as of the highest score in view rather than as of now. */
  const atPeak = () => (app.zoom !== null || !app.status.live) && app.features.peak !== null;

  /** Whether the moment that features are shown as of is above the alarm line. */
  function isOddMoment() {
    const now = app.status.instances.find((i) => i.instance === app.instance)?.score;
    return (atPeak() ? app.scores?.peak?.score : now) > 1;
  }

  const shareOf = (feature) => (atPeak() ? feature.peak_share : feature.share);
  const seenOf = (feature) => (atPeak() ? feature.peak_observed : feature.observed);
  const expectedOf = (feature) => (atPeak() ? feature.peak_expected : feature.expected);

  const isBlank = (feature) => feature.observed_values.every((value) => value === null);

  function shownFeatures() {
    const words = byId("feature-search").value.trim().toLowerCase().split(/\s+/);
    const matches = (f) => words.every((word) => `${f.name} ${f.doc}`.toLowerCase().includes(word));
    const found = app.features.features.filter(matches);
    found.sort((a, b) => isBlank(a) - isBlank(b) || shareOf(b) - shareOf(a));
    return found;
  }

  function renderFeatures() {
    if (!app.features) return;
    const found = shownFeatures();
    const searching = byId("feature-search").value.trim() !== "";
    const limit = app.allFeatures || searching ? found.length : FEATURES_FIRST;
    if (!changed("features", [app.features, found.map((f) => f.name), limit, app.feature, app.scores?.alarms])) return;
    byId("feature-count").textContent = searching ? `${found.length} of ${app.features.features.length}` : `${found.length}`;
    byId("feature-order").textContent = orderWords(found.length);
    byId("feature-legend").hidden = !found.length;
    const keepFocus = document.activeElement?.dataset?.focus;
    const list = byId("features");
    list.replaceChildren(...found.slice(0, limit).map(featureCard));
    if (found.length > limit) list.append(el("li", {}, moreButton(found.length)));
    if (keepFocus) list.querySelector(`[data-focus="${CSS.escape(keepFocus)}"]`)?.focus();
  }

  function moreButton(total) {
    return el("button", {
      type: "button", class: "feature", "data-testid": "all-features",
      onclick: () => { app.allFeatures = true; renderFeatures(); },
    }, el("span", { class: "name" }, `Show all ${total}`));
  }

  function orderWords(n_found) {
    if (!n_found) return app.features.features.length ? "No feature has these words in its name or description." : "The features are known when a model is loaded.";
    if (!atPeak()) return app.status.live ? "As of now; first what adds most to the score." : "";
    return `As of the highest score shown, at ${when(app.features.peak)}; first what added most to it.`;
  }

  function featureCard(feature) {
    const share = shareOf(feature);
    const blank = isBlank(feature);
    const at = app.features.times;
    const value = (v) => amount(feature.name, feature.unit, v);
    const now = blank ? ["not reported"] : [el("strong", {}, value(seenOf(feature))),
      expectedOf(feature) === null ? "" : ` expected ${value(expectedOf(feature))}`];
    return el("li", {}, el("button", {
      type: "button", class: `feature${blank ? " blank" : ""}`, title: feature.doc, "data-testid": "feature",
      "data-feature": feature.name, "data-share": share, "data-focus": `feature-${feature.name}`,
      "aria-pressed": String(app.feature === feature.name),
      onclick: () => chooseFeature(app.feature === feature.name ? null : feature.name),
    },
    el("span", { class: "top" }, el("span", { class: "name" }, ...breakable(feature.name)),
      share >= 0.01 ? el("span", { class: `part${isOddMoment() ? " odd" : ""}`, title: "part of the deviation" }, `${Math.round(share * 100)} %`) : null),
    el("span", { class: "value" }, ...now),
    blank ? null : sparkline(feature, at)));
  }

  /** Highest and lowest value of both lines, with a margin; never of no height. */
  function bounds(feature) {
    const values = [...feature.observed_values, ...feature.expected_values].filter(known);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
    return [low - margin, high + margin];
  }

  function path(times, values, x, y, bridge) {
    let drawing = false;
    const parts = [];
    values.forEach((value, at) => {
      if (value === null) { drawing = bridge && drawing; return; }
      parts.push(`${drawing ? "L" : "M"}${x(times[at]).toFixed(1)} ${y(value).toFixed(1)}`);
      drawing = true;
    });
    return parts.join("");
  }

  function sparkline(feature, times) {
    const [width, height] = [200, 46];
    const [low, high] = bounds(feature);
    const [first, last] = [times[0], times[times.length - 1]];
    const x = (time) => ((time - first) / (last - first || 1)) * width;
    const y = (value) => height - ((value - low) / (high - low)) * height;
    const alarms = (app.scores?.alarms ?? []).map(([start, end]) => [Math.max(start, first), Math.min(end, last)])
      .filter(([start, end]) => end >= start)
      .map(([start, end]) => svg("rect", { class: "alarm", x: x(start), y: 0, width: Math.max(1, x(end) - x(start)), height }));
    const label = `${feature.name} over time: ${amount(feature.name, feature.unit, feature.observed)} last, ${highest(feature, times)}`;
    return svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      ...alarms,
      svg("path", { class: "expected", d: path(times, feature.expected_values, x, y, true) }),
      svg("path", { class: "observed", d: path(times, feature.observed_values, x, y, false) }));
  }

  function highest(feature, times) {
    let best = -1;
    feature.observed_values.forEach((value, at) => {
      if (value !== null && (best < 0 || value > feature.observed_values[best])) best = at;
    });
    return best < 0 ? "never reported" : `highest ${amount(feature.name, feature.unit, feature.observed_values[best])} at ${when(times[best])}`;
  }

  function chooseFeature(name) {
    app.feature = name;
    renderFeatures();
    loadDetail();
  }

  async function loadDetail() {
    const box = byId("feature-detail");
    if (!app.feature) {
      box.hidden = true;
      return;
    }
    const answer = await ask("features", { ...rangeQuery(), name: app.feature, points: 800 }).catch(() => null);
    const feature = answer?.features[0];
    box.hidden = !feature;
    if (feature && changed("detail", [answer, app.scores?.alarms, box.clientWidth < 560])) renderDetail(box, answer, feature);
  }

  function renderDetail(box, answer, feature) {
    const chart = el("div", { class: "chart small", role: "img", "data-testid": "feature-chart", "aria-label": `${feature.name} over time: ${highest(feature, answer.times)}` });
    const close = el("button", { type: "button", class: "button", onclick: () => chooseFeature(null) }, "Close");
    app.detailChart?.destroy();
    app.detailChart = null;
    box.replaceChildren(
      el("div", { class: "detail-head" }, el("h3", {}, feature.name), close),
      el("p", { class: "doc" }, feature.doc), chart);
    if (isBlank(feature)) {
      chart.replaceChildren(el("p", { class: "nothing" }, "Not reported in the time shown."));
      return;
    }
    const value = (v) => amount(feature.name, feature.unit, v);
    const series = [
      { stroke: () => color("line"), width: 1.75, points: { show: false } },
      { stroke: () => color("expected"), width: 1.5, dash: [5, 4], spanGaps: true, points: { show: false } },
    ];
    const tip = tooltip((at) => [
      el("strong", {}, value(feature.observed_values[at])),
      feature.expected_values[at] === null ? "" : `, expected ${value(feature.expected_values[at])}`,
      ` at ${when(answer.times[at])}`,
    ]);
    const half = stepSeconds(answer.times) / 2;
    const hooks = { drawClear: [(plot) => shadeAlarms(plot, app.scores?.alarms ?? [], half)] };
    const scale = { range: () => bounds(feature) };
    const axis = valueAxis({ values: (_plot, splits) => splits.map(value), size: 76 });
    const data = [answer.times, feature.observed_values, feature.expected_values];
    app.detailChart = new uPlot(chartOptions(chart, 220, series, axis, scale, [tip], hooks), data, chart);
  }

  // ---- Asking ------------------------------------------------------------------------------

  async function ask(path, query = {}) {
    const given = Object.entries(query).filter(([, value]) => known(value));
    const answer = await fetch(`/api/v1/${path}?${new URLSearchParams(given)}`, { cache: "no-store" });
    const body = await answer.json();
    if (body.status !== "success") throw new Error(body.error);
    return body.data;
  }

  function rangeQuery() {
    const query = { instance: app.instance };
    if (app.zoom) return { ...query, since: app.zoom.since, until: app.zoom.until };
    const last = app.status.instances.find((i) => i.instance === app.instance)?.last;
    return app.span && known(last) ? { ...query, since: last - app.span } : query;
  }

  function setZoom(zoom) {
    app.zoom = zoom;
    if (!zoom) {
      app.chosen = null;
      history.replaceState(null, "", location.pathname);
    }
    refresh(true);
  }

  function renderControls() {
    const names = app.status.instances.map((i) => i.instance);
    const select = byId("instance");
    if (changed("instances", names)) {
      select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
      byId("instance-field").hidden = names.length < 2;
    }
    if (app.instance) select.value = app.instance;
    for (const button of document.querySelectorAll("[data-span]")) {
      const mine = button.dataset.span === String(app.span ?? "");
      button.setAttribute("aria-pressed", String(mine && !app.zoom));
    }
    byId("zoomed").hidden = !app.zoom;
    byId("zoomed-words").textContent = app.zoom ? app.zoom.words : "";
  }

  /** The server to show first: an odd one, else one with an incident, else the first. */
  function firstInstance() {
    const { instances } = app.status;
    const odd = instances.find((i) => i.alarm) ?? instances.find((i) => i.instance === app.incidents[0]?.instance);
    return (odd ?? instances[0])?.instance ?? null;
  }

  function renderHead() {
    const { status } = app;
    byId("title").textContent = status.title;
    const words = byId("freshness");
    const last = lastTime();
    const state = app.lostSince !== null ? "lost" : status.live ? "live" : "";
    words.className = `freshness ${state}`;
    const text = {
      lost: `No answer since ${clock(app.lostSince / 1000)}: is oddns running? Trying again.`,
      live: last === null ? "Live, waiting for the first scrape" : `Live, last scrape ${clock(last)} UTC`,
      "": last === null ? "Recording" : `Recording, ends ${when(last, null)} UTC`,
    }[state];
    if (words.textContent !== text) words.textContent = text;
    byId("model").textContent = modelWords(status);
    renderModel(status);
  }

  /** What judges, what it learned from, and how many false alerts it may give. */
  function renderModel({ model, budget, version }) {
    if (!changed("model", [model, budget])) return;
    const fact = ([name, text]) => [el("dt", {}, name), el("dd", {}, text)];
    byId("model-facts").replaceChildren(...(model ? modelFacts(model, budget) : [["Model", `None is loaded yet, by oddns ${version}.`]]).flatMap(fact));
  }

  function modelFacts(model, budget) {
    const span = model.trained_until
      ? `${when(model.trained_since, null)} – ${when(model.trained_until, null)} UTC, ${lasting(model.trained_until - model.trained_since)}` : "a time that is not recorded";
    const every = known(model.interval) ? `, one each ${lasting(model.interval)}` : "";
    return [
      ["Identity", `${model.id || "without a name"}, for the feature schema ${model.schema}`],
      ...(model.origin === "site" ? [] : [["Origin", `This is ${model.origin_words}.`]]),
      ["Trained on", `${span}: ${digits(model.n_rows)} rows${every}`],
      ["Kind", `${model.kind.replaceAll("_", " ")}, ${plural(model.n_features, "feature")}, looks back ${plural(model.window, "scrape")}${model.n_parameters ? `, ${digits(model.n_parameters)} weights` : ""}`],
      ["False alerts", budget ? budgetWords(budget) : `At most ${perWeek(model.alarms_per_week)} on each server, as trained. Set alert_budget to choose for the whole fleet.`],
      ["Alarm line", budget ? `${digits(budget.lift)} times as high as trained; pages begin at a score of ${digits(budget.page_score)}.` : "As trained."],
    ];
  }

  function budgetWords({ tickets_per_week, pages_per_week, n_servers }) {
    return `At most ${perWeek(tickets_per_week)}, of which ${perWeek(pages_per_week)} may page, over ${plural(n_servers, "server")} together.`;
  }

  function perWeek(n) {
    if (n >= 7) return `${digits(n / 7)} a day`;
    return n >= 1 ? `${digits(n)} a week` : `one in ${digits(1 / n)} weeks`;
  }

  function modelWords({ model, version }) {
    if (!model) return `oddns ${version}, no model loaded yet.`;
    const trained = model.trained_until
      ? `, trained on data of ${day(model.trained_since)} ${clock(model.trained_since)} – ${when(model.trained_until, model.trained_since)} UTC` : "";
    return `oddns ${version}. ${model.origin === "site" ? "Model" : "Base model"} ${model.id.slice(0, 12) || "without a name"}${trained}: ${plural(model.n_features, "feature")}, looks back ${plural(model.window, "scrape")}.`;
  }

  // ---- Model ---------------------------------------------------------------------------------

  const ENDINGS = {
    promoted: "took over", refused: "does not take over", nothing: "had nothing to learn", failed: "failed",
  };

  function renderLearning(model) {
    if (!changed("learning", model)) return;
    byId("model-generation").textContent = known(model.generation) ? `generation ${model.generation}` : "";
    const parts = modelLines(model).map((line) => el("p", {}, line));
    const last = model.last;
    if (last?.gate.length) parts.push(gateTable(last));
    if (last?.notes.length) {
      const notes = last.notes.map((note) => el("li", {}, note));
      parts.push(el("details", {}, el("summary", {}, "What was learned and what was not"), el("ul", {}, ...notes)));
    }
    if (model.fits.some((fit) => fit.own)) parts.push(ownTable(model.fits.filter((fit) => fit.own)));
    if (model.drift.length) parts.push(driftTable(model.drift.slice(0, DRIFT_ROWS)));
    byId("learning").replaceChildren(...parts);
  }

  /** When, on what, by whom, and what comes next. */
  function modelLines(model) {
    const lines = [];
    // Above stands what a model that nobody has updated was trained on.
    if (known(model.generation) && known(model.trained_until)) {
      const rows = model.n_rows ? `, ${digits(model.n_rows)} rows` : "";
      lines.push(`Learned from ${when(model.trained_since, null)} to ${when(model.trained_until, null)}${rows}.`);
    }
    if (model.promotion) {
      const { at, by, reason } = model.promotion;
      lines.push(`In use since ${when(at, null)}: ${reason} (${by}).`);
    }
    if (known(model.active_since)) lines.push(`An update has been under way since ${when(model.active_since, null)}.`);
    else if (model.learns && known(model.next) && model.origin !== "site") lines.push(`This is ${model.origin_words}; the site's own is due at ${when(model.next, null)}.`);
    else if (model.learns && known(model.next)) lines.push(`The next update is due at ${when(model.next, null)}.`);
    else if (!model.learns) lines.push("It is not updated by itself: start oddns with --storage.path for that.");
    if (model.last) lines.push(lastWords(model.last));
    if (model.backfill) lines.push(sentence(model.backfill.words));
    return lines;
  }

  function lastWords(last) {
    const which = known(last.generation) ? `generation ${last.generation}` : "it";
    const cost = `${lasting(last.seconds)}, ${lasting(last.cpu_seconds)} of a processor`;
    return `The last update ended at ${when(last.ended, null)} (${cost}): ${which} ${ENDINGS[last.result]}, ${last.reason}.`;
  }

  function gateTable(last) {
    const head = ["Trial of the last update", "In use before", "Updated", "Limit", ""];
    const row = (figure) => el("tr", {},
      el("th", { scope: "row" }, figure.name.replaceAll("_", " ")),
      ...["champion", "challenger", "limit"].map((of) => el("td", { class: "num" }, digits(figure[of]))),
      el("td", {}, figure.passed ? "passed" : "failed"));
    return el("div", { class: "scroll" }, el("table", { "data-testid": "gate" },
      el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...last.gate.map(row))));
  }

  /** Servers that the shared model fits badly, each with a model of its own. */
  function ownTable(fits) {
    const row = ({ instance, misfit, own }) => el("tr", {},
      el("th", { scope: "row" }, instance),
      el("td", { class: "num" }, String(own.generation)),
      el("td", {}, `${when(own.since, null)}: ${own.reason} (${own.by})`),
      el("td", { class: "num" }, known(misfit) ? misfit.toFixed(2) : "not known"));
    return el("div", { class: "scroll" }, el("table", { "data-testid": "own-models" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Judged by a model of its own"),
        el("th", { scope: "col" }, "generation"), el("th", { scope: "col" }, "since"),
        el("th", { scope: "col" }, "misfit of the shared model"))),
      el("tbody", {}, ...fits.map(row))));
  }

  function driftTable(drift) {
    const row = ({ feature, moved }) => el("tr", {},
      el("th", { scope: "row" }, feature),
      el("td", { class: "num" }, `${moved >= 0 ? "+" : "\u2212"}${Math.abs(moved).toFixed(2)}`));
    return el("div", { class: "scroll" }, el("table", { "data-testid": "drift" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Moved most since training, all servers"),
        el("th", { scope: "col" }, "standard deviations"))),
      el("tbody", {}, ...drift.map(row))));
  }

  const askIncidents = () => ask("incidents", { limit: app.incidentLimit });

  async function loadIncidents(asked) {
    const answer = asked ?? await askIncidents();
    app.incidents = answer.incidents;
    if (app.linked && !app.incidents.some((i) => i.id === app.linked.id)) app.incidents.push(app.linked);
    app.incidentTotal = answer.total;
    byId("more-incidents").hidden = answer.total <= app.incidents.length || app.incidentLimit === INCIDENTS_MORE;
  }

  async function loadModel(asked) {
    if (!asked && Date.now() - app.modelAt < FEATURES_EVERY_MS) return;
    app.modelAt = Date.now();
    renderLearning(asked ?? await ask("model"));
  }

  /** All about the server that is shown, asked for at once. */
  async function loadCharts(now) {
    if (!app.instance) return;
    const range = rangeQuery();
    const points = Math.floor(Math.max(200, byId("score-chart").clientWidth) / 7);
    const isDue = now || Date.now() - app.featuresAt >= FEATURES_EVERY_MS;
    const [scores, heat, features] = await Promise.all([
      ask("scores", { ...range, points: SCORE_POINTS }),
      ask("heatmap", { ...range, points, features: HEAT_ROWS }),
      isDue ? ask("features", range) : null,
    ]);
    [app.scores, app.heat] = [scores, heat];
    renderScores();
    renderHeat();
    renderNow();
    if (!isDue) return;
    app.featuresAt = Date.now();
    app.features = features;
    renderFeatures();
    await loadDetail();
  }

  /** Asks for what is new and draws it; `now` also for what is asked for less often. */
  function refresh(now) {
    app.work = app.work.catch(() => {}).then(() => refreshOnce(now));
    return app.work;
  }

  async function refreshOnce(now) {
    const whose = { limit: SERVERS_LISTED, search: app.search || null, kind: app.kind, also: app.instance };
    const [status, model, incidents] = await Promise.all([ask("status", whose), ...(now ? [ask("model"), askIncidents()] : [])]);
    await scriptsLoaded;
    const isNew = now || !app.status || status.revision !== app.status.revision;
    app.status = status;
    app.lostSince = null;
    renderHead();
    await loadModel(model);
    if (!isNew) return;
    await loadIncidents(incidents);
    app.instance ??= firstInstance();
    renderControls();
    renderFleet();
    renderNow();
    renderIncidents();
    await Promise.all([loadCharts(now), loadFleet()]);
    // For who measures how long it takes; only the first one counts.
    if (!performance.getEntriesByName("oddns-drawn").length) performance.mark("oddns-drawn");
  }

  async function poll() {
    try {
      await refresh(app.status === null);
    } catch (error) {
      app.lostSince ??= Date.now();
      if (app.status) renderHead();
      else byId("freshness").textContent = `No answer from oddns: ${error.message}. Trying again.`;
    }
    if (app.status === null || app.status.live || app.lostSince !== null) setTimeout(poll, POLL_MS);
  }

  /** Draws the charts again, such as in other colours or another width. */
  function redraw() {
    for (const section of ["scores", "features", "detail"]) app.rendered.delete(section);
    app.rendered.delete("heat");
    if (app.scores) renderScores();
    if (app.heat) renderHeat();
    if (app.fleet) drawFleet();
    renderFeatures();
    if (app.feature) loadDetail();
  }

  function listen() {
    byId("instance").addEventListener("change", (event) => chooseInstance(event.target.value));
    byId("fleet-search").addEventListener("input", (event) => {
      app.search = event.target.value.trim();
      clearTimeout(app.searching);
      app.searching = setTimeout(() => refresh(true), 200);
    });
    const map = byId("fleet-map");
    map.addEventListener("mousemove", (event) => {
      const at = cellAt(event);
      const score = at < 0 ? null : app.fleet.scores[at];
      map.title = at < 0 ? "" : `${app.fleet.instances[at]}: ${KINDS[KIND_OF[app.fleet.kinds[at]]]}${known(score) ? `, score ${scoreWords(score)}` : ""}`;
    });
    map.addEventListener("click", (event) => {
      const at = cellAt(event);
      if (at >= 0) chooseInstance(app.fleet.instances[at]);
    });
    byId("more-incidents").firstElementChild.addEventListener("click", () => {
      app.incidentLimit = INCIDENTS_MORE;
      refresh(true);
    });
    listenHeat();
    for (const button of document.querySelectorAll("[data-span]")) {
      button.addEventListener("click", () => {
        app.span = button.dataset.span ? Number(button.dataset.span) : null;
        setZoom(null);
      });
    }
    byId("unzoom").addEventListener("click", () => setZoom(null));
    byId("feature-search").addEventListener("input", renderFeatures);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    let width = window.innerWidth;
    addEventListener("resize", () => {
      if (window.innerWidth !== width) redraw();
      width = window.innerWidth;
    });
  }

  /** A link to an incident, as `#incident-…`, opens it, however old it is. */
  async function openLinked() {
    const [, id] = /^#incident-(.+)$/.exec(decodeURIComponent(location.hash)) ?? [];
    if (!id) return;
    app.linked = app.incidents.find((i) => i.id === id) ?? (await ask("incidents", { id })).incidents[0];
    if (!app.linked) {
      byId("announce").textContent = "The incident of this link is not remembered any more.";
      byId("incidents").prepend(el("p", { class: "panel empty", "data-testid": "no-such-incident" }, "The incident of this link is not remembered any more."));
      return;
    }
    await loadIncidents();
    renderIncidents();
    chooseIncident(app.linked, false);
  }

  listen();
  poll().then(openLinked);
})();

"use strict";
(() => {
  const page = document.documentElement;
  page.classList.add("script");
  const find = (id) => document.getElementById(id);
  const list = find("items");
  const items = [...list.querySelectorAll("article")];
  const rows = [...document.querySelectorAll("table.lines tbody tr")];
  const boxes = [...document.querySelectorAll("input[name=show]")];
  const texts = new Map();
  const words = (one) => {
    if (!texts.has(one)) texts.set(one, one.textContent.toLowerCase());
    return texts.get(one);
  };
  const value = (id) => (find(id) ? find(id).value : "");
  const number = (text) => (text === "" ? NaN : Number(text));
  const made = new Map();

  const compare = {
    worst: (a, b) => a.dataset.number - b.dataset.number,
    score: (a, b) => by(a, b, "score", -1),
    p: (a, b) => by(a, b, "p", 1),
    similarity: (a, b) => by(a, b, "similarity", -1),
    line: (a, b) => by(a, b, "line", 1),
  };
  function by(a, b, key, way) {
    const [x, y] = [number(a.dataset[key]), number(b.dataset[key])];
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y) || compare.worst(a, b);
    return way * (x - y) || compare.worst(a, b);
  }

  let sorted = "worst";
  function apply() {
    const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const query = value("search").trim().toLowerCase();
    const group = value("group");
    const open = find("undecided") && find("undecided").checked;
    let count = 0;
    for (const item of items) {
      const decided = item.dataset.decided || made.has(item);
      const fits = shown.has(item.dataset.outcome) && (!group || item.dataset.group === group);
      item.hidden = !(fits && !(open && decided) && (!query || words(item).includes(query)));
      count += item.hidden ? 0 : 1;
    }
    for (const row of rows) row.hidden = Boolean(query) && !words(row).includes(query);
    const way = value("sort") || "worst";
    if (way !== sorted) {
      list.append(...items.sort(compare[way] || compare.worst));
      sorted = way;
    }
    if (find("shown")) find("shown").textContent = count + " of " + items.length + " shown";
    remember();
  }

  function remember() {
    const state = new URLSearchParams();
    const off = boxes.filter((box) => !box.checked);
    if (off.length) state.set("hide", off.map((box) => box.value).join(","));
    if (value("search")) state.set("q", value("search"));
    if (value("group")) state.set("group", value("group"));
    if (value("sort") && value("sort") !== "worst") state.set("sort", value("sort"));
    if (find("undecided") && find("undecided").checked) state.set("undecided", "1");
    const text = state.toString();
    const held = location.hash.slice(1);
    if (text === held || (!text && held && !held.includes("="))) return;
    history.replaceState(null, "", text ? "#" + text : location.pathname + location.search);
  }

  function recall() {
    const held = location.hash.slice(1);
    if (!held.includes("=")) return;
    const state = new URLSearchParams(held);
    const off = (state.get("hide") || "").split(",");
    for (const box of boxes) box.checked = !off.includes(box.value);
    for (const [id, key] of [["search", "q"], ["group", "group"], ["sort", "sort"]]) {
      if (find(id)) find(id).value = state.get(key) || (id === "sort" ? "worst" : "");
    }
    if (find("sort") && !find("sort").value) find("sort").value = "worst";
    if (find("undecided")) find("undecided").checked = state.get("undecided") === "1";
  }

  function step(way) {
    const visible = items.filter((item) => !item.hidden);
    if (!visible.length) return;
    const at = visible.indexOf(document.activeElement.closest("article"));
    const next = visible[at < 0 ? (way > 0 ? 0 : visible.length - 1) : Math.min(Math.max(at + way, 0), visible.length - 1)];
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: "start" });
  }

  function say(text) {
    find("decided").textContent = text;
  }

  function tell() {
    const left = made.size;
    say(left ? left + (left > 1 ? " findings are" : " finding is") + " decided and not downloaded yet." : "Nothing is left to download.");
  }

  function decide(item) {
    const chosen = item.querySelector("input[type=radio]:checked");
    const undo = item.querySelector(".undo");
    undo.hidden = !chosen;
    if (!chosen) made.delete(item);
    else {
      const note = item.querySelector(".note input").value.trim();
      const time = new Date().toISOString().slice(0, 19) + "Z";
      made.set(item, { decision: chosen.value, note: note, time: time });
    }
    tell();
    if (find("undecided").checked) return;
    apply();
  }

  function line(item, name) {
    const about = item.dataset;
    const own = made.get(item);
    return JSON.stringify({
      schema: "memdetect.review/1", id: about.id, fingerprint: about.fingerprint, pictures: about.pictures.split(" "),
      training: JSON.parse(about.training), decision: own.decision, name: name, note: own.note, time: own.time,
    });
  }

  function download() {
    const name = value("name").trim();
    if (!made.size) return say("Nothing is decided yet: choose what a finding is, below it.");
    if (!name) {
      say("Whose decisions are these? Give your name.");
      return find("name").focus();
    }
    const ordered = items.filter((item) => made.has(item)).sort(compare.worst);
    const text = ordered.map((item) => line(item, name) + "\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/x-ndjson" }));
    link.download = "review.jsonl";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    saved = made.size;
    say(made.size + (made.size > 1 ? " decisions" : " decision") + " written to review.jsonl. Judge with: memdetect gate RUN --review review.jsonl");
  }
  let saved = 0;

  for (const id of ["search", "group", "sort", "undecided"]) {
    if (find(id)) find(id).addEventListener("input", apply);
  }
  for (const box of boxes) box.addEventListener("input", apply);
  for (const item of items.filter((one) => one.dataset.fingerprint)) {
    item.querySelector(".decide").addEventListener("input", () => decide(item));
    item.querySelector(".undo").addEventListener("click", () => {
      item.querySelector("input[type=radio]:checked").checked = false;
      decide(item);
      item.querySelector("input[type=radio]").focus();
    });
  }
  if (find("download")) find("download").addEventListener("click", download);
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("input, select, textarea, button, summary, .wide")) return;
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else return;
    event.preventDefault();
  });
  addEventListener("hashchange", () => { recall(); apply(); });
  addEventListener("beforeunload", (event) => { if (made.size > saved) event.preventDefault(); });
  addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = true; });
  recall();
  apply();
})();

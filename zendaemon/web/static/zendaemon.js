// Keeps the page live, shows instants in the reader's zone, and does what buttons say. Without it the page still reads.
"use strict";

(() => {
  const EVERY = 3000; // ms between two looks, while somebody looks
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => within.querySelectorAll(selector);
  document.documentElement.classList.add("scripted");

  // --- Instants -------------------------------------------------------------------------------------------------

  const zoneChoice = $("#zone");
  const formats = new Map();

  function format(zone) {
    if (!formats.has(zone)) {
      const parts = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" };
      formats.set(zone, new Intl.DateTimeFormat("en-GB", { ...parts, hourCycle: "h23", timeZone: zone, timeZoneName: "longOffset" }));
    }
    return formats.get(zone);
  }

  function local(instant, zone) {
    const part = Object.fromEntries(format(zone).formatToParts(instant).map(({ type, value }) => [type, value]));
    const offset = part.timeZoneName.replace("GMT", "").replace(/^([+-]00:00)?$/, "Z");
    return { day: `${part.year}-${part.month}-${part.day}`, time: `${part.hour}:${part.minute}:${part.second}`, hour: `${part.hour}:${part.minute}`, offset };
  }

  function zoneOf(element) {
    if (zoneChoice.value === "viewer") return Intl.DateTimeFormat().resolvedOptions().timeZone;
    return zoneChoice.value === "schedule" ? element.dataset.zone || "UTC" : "UTC";
  }

  function exact(instant, zone) {
    const { day, time, offset } = local(instant, zone);
    return offset === "Z" ? `${day} ${time}Z` : `${day} ${time} ${offset}`;
  }

  function far(instant, now) {
    const distance = Math.round((instant - now) / 1000);
    const seconds = Math.abs(distance);
    const steps = [[86400 * 2, 86400, "d"], [3600, 3600, "h"], [60, 60, "min"], [0, 1, "s"]];
    const [, size, unit] = steps.find(([least]) => seconds >= least);
    const whole = Math.floor(seconds / size);
    const rest = unit === "h" && whole < 10 ? Math.floor((seconds % 3600) / 60) : 0;
    const text = `${whole} ${unit}${rest ? ` ${rest} min` : ""}`;
    if (seconds < 1) return "now";
    return distance > 0 ? `in ${text}` : `${text} ago`;
  }

  function showInstants() {
    const now = Date.now();
    for (const time of all("time")) {
      const instant = new Date(time.dateTime);
      const isFar = "far" in time.dataset;
      const text = isFar ? far(instant, now) : exact(instant, zoneOf(time));
      if (time.textContent !== text) time.textContent = text;
      if (isFar) time.title = exact(instant, zoneOf(time));
    }
    for (const label of all("[data-hour]")) {
      const text = local(new Date(label.dataset.hour), zoneOf(label)).hour;
      if (label.textContent !== text) label.textContent = text;
    }
  }

  try { zoneChoice.value = localStorage.getItem("zendaemon.zone") || "UTC"; } catch { /* no storage, no memory */ }
  zoneChoice.addEventListener("change", () => {
    try { localStorage.setItem("zendaemon.zone", zoneChoice.value); } catch { /* as above */ }
    showInstants();
  });
  setInterval(showInstants, 1000);

  // --- Live -----------------------------------------------------------------------------------------------------

  let etag = null;
  let asked = 0;
  let lostSince = null;

  // What the reader did to an element stays: focus, scroll, what is typed, what is open.
  function morph(from, to) {
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && name !== "open" && name !== "title") from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    if (from.localName === "select" && from === document.activeElement) return;
    morphChildren(from, to);
  }

  const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
  const keyOf = (node) => (node.dataset && node.dataset.key) || node.id || "";

  function morphChildren(from, to) {
    const keyed = new Map([...from.children].filter(keyOf).map((child) => [child.nodeName + keyOf(child), child]));
    let current = from.firstChild;
    for (const wanted of [...to.childNodes]) {
      let found = current && alike(current, wanted) ? current : null;
      if (!found && wanted.nodeType === 1 && keyOf(wanted)) found = keyed.get(wanted.nodeName + keyOf(wanted)) || null;
      if (!found) {
        from.insertBefore(document.importNode(wanted, true), current);
        continue;
      }
      if (found === current) current = current.nextSibling;
      else from.insertBefore(found, current);
      if (found.nodeType === 1) {
        if (!found.isEqualNode(wanted)) morph(found, wanted);
      } else if (found.nodeValue !== wanted.nodeValue) found.nodeValue = wanted.nodeValue;
    }
    while (current) {
      const next = current.nextSibling;
      current.remove();
      current = next;
    }
  }

  function connected(problem) {
    const place = $("#connection");
    if (!problem) lostSince = null;
    else lostSince ||= exact(new Date(), zoneChoice.value === "viewer" ? zoneOf(place) : "UTC");
    const text = lostSince ? `not connected since ${lostSince}: ${problem}; what is shown is from before` : "live";
    if (place.textContent !== text) place.textContent = text;
    place.classList.toggle("lost", Boolean(lostSince));
  }

  async function look() {
    const mine = ++asked;
    let answer, text;
    try {
      const headers = etag ? { "If-None-Match": etag } : {};
      answer = await fetch(location.href, { headers, cache: "no-store", signal: AbortSignal.timeout(20000) });
      text = answer.status === 304 ? "" : await answer.text();
    } catch {
      return connected("the daemon does not answer");
    }
    if (mine !== asked) return;
    const isPage = (answer.headers.get("content-type") || "").startsWith("text/html");
    if (answer.status !== 304 && !isPage) return connected(wordsOf(answer.status, text));
    connected("");
    if (answer.status === 304) return;
    etag = answer.headers.get("etag");
    const page = new DOMParser().parseFromString(text, "text/html");
    document.title = page.title;
    for (const region of all("[data-live]")) {
      const fresh = page.getElementById(region.id);
      if (fresh) morph(region, fresh);
    }
    showInstants();
  }

  function again() {
    clearTimeout(again.timer);
    if (document.visibilityState !== "visible") return;
    look().finally(() => {
      clearTimeout(again.timer); // another look may have begun and ended meanwhile
      again.timer = setTimeout(again, EVERY);
    });
  }
  document.addEventListener("visibilitychange", again);
  again.timer = setTimeout(again, EVERY);

  // The filter acts as it is changed; the address stays one that can be sent to others.
  const filter = $("#filter");
  let typing;
  function narrow() {
    const values = new URLSearchParams(new FormData(filter));
    for (const [name, value] of [...values]) if (!value || (name === "sort" && value === "name")) values.delete(name);
    history.replaceState(null, "", values.size ? `/?${values}` : "/");
    etag = null;
    again();
  }
  filter?.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(narrow, 250);
  });
  filter?.addEventListener("submit", (event) => {
    event.preventDefault();
    narrow();
  });

  // --- Acts -----------------------------------------------------------------------------------------------------

  const TOKEN = "zendaemon.token";
  const token = {
    get: () => { try { return sessionStorage.getItem(TOKEN); } catch { return null; } },
    set: (value) => {
      try { value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN); } catch { /* asked anew */ }
      $("#forget").hidden = !value;
    },
  };
  $("#forget").hidden = !token.get();
  $("#forget").addEventListener("click", () => { token.set(""); say("The token is forgotten."); });

  function say(text, wrong = false) {
    clearTimeout(say.timer);
    const place = $("#said");
    place.textContent = text;
    place.classList.toggle("wrong", wrong);
    say.timer = setTimeout(() => { place.textContent = ""; }, wrong ? 30000 : 8000);
  }

  function wordsOf(status, text) {
    try {
      const { detail, remedy } = JSON.parse(text);
      if (detail) return remedy ? `${detail} (${remedy})` : detail;
    } catch { /* no JSON: the status must do */ }
    return `it answers ${status}`;
  }

  function askToken(why) {
    const dialog = $("#token-dialog");
    const wrong = $(".wrong", dialog);
    wrong.textContent = why;
    wrong.hidden = !why;
    $("#token").value = "";
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? $("#token").value.trim() : ""), { once: true });
    });
  }

  async function post(path, body) {
    let given = token.get();
    for (let why = ""; ;) {
      const headers = { "Content-Type": "application/json", ...(given ? { Authorization: `Bearer ${given}` } : {}) };
      const answer = await fetch(path, { method: "POST", headers, body: body && JSON.stringify(body), cache: "no-store" });
      const text = await answer.text();
      if (answer.status !== 401) return { answer, text, given };
      if (given) why = wordsOf(answer.status, text);
      token.set("");
      given = await askToken(why);
      if (!given) return null;
    }
  }

  const DONE = {
    fire: () => "Fired: the latest row of the history tells what becomes of it.",
    pause: (shown) => `Paused${shown.until ? ` until ${exact(new Date(shown.until), "UTC")}` : " till somebody resumes it"}.`,
    resume: () => "Resumed.",
    reload: ({ changes }) => `Reloaded: ${Object.entries(changes || {}).map(([kind, count]) => `${count} ${kind}`).join(", ")}.`,
  };

  async function act(what, path, body) {
    say("Asking the daemon…");
    try {
      const made = await post(path, body);
      if (!made) return say("Nothing was done: no token was given.", true);
      const { answer, text, given } = made;
      if (given && ![403, 429].includes(answer.status)) token.set(given); // it was right, whatever became of the rest
      if (answer.ok) say(DONE[what](JSON.parse(text)));
      else say(`Not done: ${wordsOf(answer.status, text)}`, true);
      return answer.ok;
    } catch {
      say("Not done: the daemon does not answer.", true);
    } finally {
      again();
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("button");
    if (!button) return;
    if (button.getAttribute("aria-disabled") === "true") say($(`#${button.getAttribute("aria-describedby")}`).textContent, true);
    else if (button.dataset.dialog) $(`#${button.dataset.dialog}`).showModal();
    else if ("close" in button.dataset) button.closest("dialog").close("");
    else if (button.dataset.act) {
      button.disabled = true;
      act(button.dataset.act, button.dataset.to).finally(() => { button.disabled = false; });
    }
  });

  function pauseOf(form) {
    const { note, length, until } = Object.fromEntries(new FormData(form));
    if (length === "at") return { note, until: new Date(until).toISOString() };
    return length ? { note, until: new Date(Date.now() + 1000 * Number(length)).toISOString() } : { note };
  }

  for (const form of all("dialog form[data-act]")) {
    form.addEventListener("submit", () => {
      const body = form.dataset.act === "pause" ? pauseOf(form) : undefined;
      act(form.dataset.act, form.dataset.to, body).then((done) => { if (done) form.reset(); }); // else it is kept
    });
    form.addEventListener("reset", () => setTimeout(offerTime));
  }
  function offerTime() {
    const at = $("#length")?.value === "at";
    if (!$("#until")) return;
    for (const element of [$("#until"), $("label[for=until]")]) element.hidden = !at;
    $("#until").required = at;
  }
  $("#length")?.addEventListener("change", offerTime);

  showInstants();
  connected("");
})();

// The dashboard's script; the palette has its own. Data attributes enable its features; every page works without it.
"use strict";
(() => {
  const on = (type, handler) => document.addEventListener(type, handler);
  const near = (event, selector) => event.target instanceof Element && event.target.closest(selector);

  // --- Dialogs: htmx fills #dialog; [data-opens] opens one that is in the page ---
  on("htmx:afterSwap", ({ detail: { target } }) => {
    if (target?.id !== "dialog") return; // rows of a stream have no target
    if (!target.firstElementChild) target.close();
    else if (!target.open) target.showModal();
  });
  on("click", (event) => {
    const opener = near(event, "[data-opens]");
    if (opener) document.getElementById(opener.dataset.opens).showModal();
    const closer = near(event, "dialog [data-close]");
    if (closer) event.preventDefault();
    if (closer || (event.target instanceof HTMLDialogElement && event.target.open)) {
      event.target.closest("dialog").close(); // a click on the dialog element is on its backdrop
    }
  });

  // --- A dangerous form's button is enabled once the name is typed; the server checks it again ---
  const arm = (input) => {
    const button = input.form.querySelector("footer button");
    if (button) button.disabled = input.value.trim() !== input.dataset.arms;
  };
  const armAll = () => document.querySelectorAll("[data-arms]").forEach(arm);
  on("input", (event) => near(event, "[data-arms]") && arm(event.target));
  on("htmx:afterSettle", armAll);

  // --- Menus close by Escape or a click elsewhere ---
  const closeMenus = (except) =>
    document.querySelectorAll("details[data-menu][open]").forEach((menu) => {
      if (menu === except) return;
      if (menu.contains(document.activeElement)) menu.firstElementChild.focus();
      menu.open = false;
    });
  on("click", (event) => closeMenus(near(event, "details[data-menu]")));

  // --- Copy buttons. The clipboard API is not available over plain http, a common setup ---
  const copy = async (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  };
  on("click", async (event) => {
    const button = near(event, "[data-copy]");
    if (!button) return;
    await copy(button.dataset.copy);
    button.focus();
    document.getElementById("announce").textContent = "Copied";
    const label = button.querySelector("span");
    if (label) label.textContent = "Copied";
    else button.setAttribute("aria-pressed", "true");
    setTimeout(() => {
      if (label) label.textContent = "Copy";
      else button.removeAttribute("aria-pressed");
      document.getElementById("announce").textContent = "";
    }, 2000);
  });

  // --- Shortcuts: data-shortcut="/" enters a field, "p" or "g p" clicks. Can be switched off ---
  let prefix = "";
  const off = () => localStorage.getItem("shortcuts") === "off";
  on("keydown", (event) => {
    if (event.key === "Escape") return closeMenus();
    const typing = near(event, "input, select, textarea, [contenteditable]");
    if (event.ctrlKey || event.metaKey || event.altKey || typing || off()) return;
    if (document.querySelector("dialog[open]")) return;
    const combination = prefix + event.key;
    prefix = event.key === "g" && !prefix ? "g " : "";
    if (prefix) setTimeout(() => (prefix = ""), 1000);
    const target = document.querySelector(`[data-shortcut="${CSS.escape(combination)}"]`);
    if (!target) return;
    event.preventDefault();
    if (target.matches("input")) target.select();
    target.click();
  });
  on("change", (event) => {
    const box = near(event, "[data-shortcuts-switch]");
    if (box) localStorage.setItem("shortcuts", box.checked ? "on" : "off");
  });

  // --- Tags: suggestions complete the whole value, so they begin with the tags typed before ---
  on("input", (event) => {
    const field = near(event, "input[data-tags]");
    if (!field) return;
    const before = field.value.slice(0, field.value.lastIndexOf(",") + 1).trim();
    for (const option of field.list.options) {
      option.value = before ? `${before} ${option.dataset.tag}` : option.dataset.tag;
    }
  });

  // --- Rules: show only the operators that fit the field, as the server does when it renders a row ---
  on("change", (event) => {
    const field = near(event, "input[list='rule-fields']");
    if (!field) return;
    const known = document.querySelector(`#rule-fields [value="${CSS.escape(field.value.trim())}"]`);
    const select = field.closest("fieldset").querySelector("select");
    for (const option of select.options) {
      const fits = option.dataset.kinds.split("|").includes(known?.dataset.kind ?? "attribute");
      option.hidden = option.disabled = !fits;
    }
    if (select.selectedOptions[0].disabled) {
      select.selectedIndex = [...select.options].findIndex((option) => !option.disabled);
    }
  });

  // --- Lists: select a range with Shift, or all rows of a page; say how many are selected ---
  const boxes = (form) => [...form.querySelectorAll("tbody input[type=checkbox]")];
  const countSelected = (form) => {
    const all = boxes(form);
    const selected = all.filter((box) => box.checked).length;
    form.querySelector("[data-selected]").textContent = selected ? `${selected} selected` : "";
    const whole = form.querySelector("[data-selects-all]");
    whole.checked = selected === all.length;
    whole.indeterminate = selected > 0 && selected < all.length;
  };
  const countAllSelected = () => document.querySelectorAll("[data-selection]").forEach(countSelected);
  let lastBox;
  on("click", (event) => {
    const form = near(event, "[data-selection]");
    if (!form || !event.target.matches("input[type=checkbox]")) return;
    const all = boxes(form);
    const range = [all.indexOf(lastBox), all.indexOf(event.target)].sort((one, other) => one - other);
    const affected = event.target.matches("[data-selects-all]") ? all
      : event.shiftKey && range[0] >= 0 ? all.slice(range[0], range[1] + 1) : [];
    for (const box of affected) box.checked = event.target.checked;
    lastBox = event.target;
    countSelected(form);
  });
  on("htmx:afterSettle", countAllSelected);

  // --- Relative times, worded like the reltime tag ---
  const UNITS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const updateAges = () =>
    document.querySelectorAll("time[data-reltime]").forEach((time) => {
      const seconds = Math.trunc((Date.now() - Date.parse(time.dateTime)) / 1000);
      const distance = Math.abs(seconds);
      if (distance >= 30 * 86400) return;
      const [size, unit] = UNITS.find(([each]) => distance >= each) ?? UNITS[3];
      const past = `${Math.floor(distance / size)} ${unit} ago`;
      const future = `in ${Math.floor((distance + Math.floor(size / 2)) / size)} ${unit}`;
      time.textContent = distance < 5 ? "just now" : seconds > 0 ? past : future;
    });
  setInterval(updateAges, 15000);

  // --- Toasts ---
  on("click", (event) => near(event, "[data-dismiss]")?.closest(".toast").remove());
  on("animationend", (event) => event.animationName === "toast-out" && event.target.remove());
  const alertWith = (text) => {
    const toast = document.getElementById("error-toast").content.cloneNode(true);
    toast.querySelector(".toast > div").textContent = text;
    document.getElementById("alerts").replaceChildren(toast);
  };
  const asked = (elt) => elt.id !== "bell"; // it asks by itself
  on("htmx:responseError", ({ detail: { elt, xhr } }) => {
    if (!asked(elt)) return;
    const id = xhr.getResponseHeader("X-Request-Id");
    const why = { 403: "Permission denied", 404: "Not found", 429: "Too many requests" };
    const what = why[xhr.status] ?? "The request failed";
    const isText = (xhr.getResponseHeader("Content-Type") ?? "").startsWith("text/plain");
    const then = isText ? xhr.responseText : "Reload the page and try again.";
    alertWith(`${what}. ${then}${id ? ` Request ${id}.` : ""}`);
  });
  on("htmx:sendError", ({ detail: { elt } }) => {
    if (asked(elt)) alertWith("The server is not reachable. Check your connection.");
  });

  // --- Live events: rows by animation frame, a limit to the rows shown, the state in words ---
  const QUIET = 25000; // milliseconds without a word from the stream, which speaks every ten seconds
  const TINTED = 20; // more rows at once are not tinted: fading them would take all of the time
  let arrived = [], busyUntil = 0, heard = 0, cursor = "", reconnecting;
  const showState = (text, kind, tone) => {
    const badge = document.querySelector("[data-tail-state]");
    if (!badge) return;
    badge.textContent = text;
    badge.dataset.tone = tone;
    if (badge.dataset.tailState === kind) return; // a screen reader hears changes, not each second
    badge.dataset.tailState = kind;
    document.getElementById("announce").textContent = `Live events: ${text}`;
  };
  const insertRows = () => {
    const body = document.querySelector("[data-tail-limit]");
    const html = arrived.reverse().join("");
    arrived = [];
    if (!body || !html) return;
    const began = performance.now();
    const rows = document.createElement("template");
    rows.innerHTML = html;
    // After a reconnection, the stream repeats what may not have arrived.
    for (const row of rows.content.querySelectorAll("tr[id]")) if (document.getElementById(row.id)) row.remove();
    const added = [...rows.content.children];
    if (added.length <= TINTED) {
      for (const row of added) row.classList.add("htmx-added");
      setTimeout(() => added.forEach((row) => row.classList.remove("htmx-added")), 20);
    }
    for (const row of added) row.dataset.raw = "";
    body.prepend(rows.content);
    const left = [...body.children].slice(Number(body.dataset.tailLimit));
    for (const row of left) if (!row.contains(document.activeElement)) row.remove();
    const note = document.querySelector("[data-tail-left]");
    if (left.length && note) {
      note.dataset.tailLeft = Number(note.dataset.tailLeft) + left.length;
      note.textContent = `${Number(note.dataset.tailLeft).toLocaleString("en")} older ones left it.`;
    }
    body.getBoundingClientRect(); // lays out the page, which takes most of the time
    const ended = performance.now();
    busyUntil = ended + 4 * (ended - began); // most of the time is left for the reader
  };
  on("htmx:sseBeforeMessage", (event) => {
    if (!event.target.matches("[data-tail-limit]")) return;
    event.preventDefault();
    arrived.push(event.detail.data);
    if (arrived.length > 1) return;
    const wait = document.hidden ? 1000 : busyUntil - performance.now();
    setTimeout(() => (document.hidden ? insertRows() : requestAnimationFrame(insertRows)), wait);
  });
  // htmx needs some time for each link, so it gets a row that arrived when the reader turns to it.
  for (const type of ["pointerover", "focusin"]) {
    on(type, (event) => {
      const row = near(event, "tr[data-raw]");
      if (!row) return;
      delete row.dataset.raw;
      htmx.process(row);
    });
  }
  on("visibilitychange", () => insertRows()); // a hidden page has no animation frames
  on("sse:state", ({ detail }) => {
    [heard, cursor] = [Date.now(), detail.lastEventId];
    clearTimeout(reconnecting);
    if (detail.data === "0") showState("Live", "live", "ok");
    else showState(`${detail.data} s behind`, "behind", "warn");
  });
  on("htmx:sseError", () => {
    clearTimeout(reconnecting); // a planned end of the stream reopens within seconds: show nothing
    reconnecting = setTimeout(() => showState("Reconnecting", "reconnecting", "warn"), 5000);
  });
  setInterval(() => {
    const badge = document.querySelector("[data-tail-state]");
    if (!badge || !heard || Date.now() - heard < QUIET) return;
    heard = Date.now(); // the connection is dead, but the browser does not know: open a new one
    showState("Reconnecting", "reconnecting", "warn");
    htmx.ajax("GET", `${badge.dataset.resume}&since=${cursor}`, { target: "#tail", swap: "outerHTML" });
  }, 5000);

  // --- Charts: the tip of a column, with the colours of the legend. Without this script, it is plain text by CSS ---
  for (const type of ["pointerover", "focusin"]) {
    on(type, (event) => {
      const column = near(event, "[data-hit] > input:not(:has(+ .tip))");
      if (!column) return;
      const legend = column.closest(".chart").querySelectorAll("figcaption li");
      const tip = document.createElement("span");
      tip.className = "tip";
      tip.ariaHidden = "true";
      column.ariaLabel.split("\n").forEach((text, index) => {
        const line = document.createElement(index ? "span" : "strong");
        const [value, name = ""] = text.split("\t").reverse();
        line.append(index ? `${name} ` : "", document.createElement("b"));
        line.lastChild.textContent = value;
        const series = legend[index - 1]?.dataset.series;
        if (series) line.dataset.series = series;
        tip.append(line);
      });
      column.after(tip);
    });
  }

  // --- Links to other environments keep the filters of a list, which htmx puts into the address ---
  on("htmx:pushedIntoHistory", () => {
    const query = new URLSearchParams(location.search);
    ["after", "before"].forEach((name) => query.delete(name));
    document.querySelectorAll("a[data-environment]").forEach((link) => (link.search = query));
  });

  // --- aria-busy on what htmx is about to replace ---
  on("htmx:beforeRequest", ({ detail }) => detail.target.setAttribute("aria-busy", "true"));
  on("htmx:afterRequest", ({ detail }) => detail.target.removeAttribute("aria-busy"));

  armAll();
  countAllSelected();
  const box = document.querySelector("[data-shortcuts-switch]");
  if (box) box.checked = !off();
})();

// The command palette: the search box as a combobox, with a list of results that the server renders.
"use strict";
(() => {
  const box = document.getElementById("find");
  if (!box) return;
  const form = box.form;
  const list = document.getElementById("palette");
  const closer = form.querySelector("[type=reset]");
  const count = document.getElementById("palette-count");
  const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
  let before; // what had the focus before the box
  let isStale = true; // the list is not yet that of the text in the box
  let awaiting; // Enter was pressed meanwhile: "tab" to open a new tab, else "here"

  const roles = { type: "text", role: "combobox", "aria-expanded": false, "aria-controls": list.id };
  for (const [name, value] of Object.entries(roles)) box.setAttribute(name, value);
  box.setAttribute("aria-autocomplete", "list");
  if (isMac) form.querySelector("kbd").textContent = "⌘K";

  const options = () => [...list.querySelectorAll("[role=option]")];
  const selected = () => list.querySelector("[aria-selected=true]");
  const select = (option) => {
    selected()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    if (option) box.setAttribute("aria-activedescendant", option.id);
    else box.removeAttribute("aria-activedescendant");
  };
  const move = (place) => {
    const all = options();
    select(all.at(place % all.length));
    // The first option shows the title of its group.
    if (selected() === all[0]) list.scrollTop = 0;
    else selected()?.scrollIntoView({ block: "nearest" });
  };

  // --- Open and close ---
  const show = () => {
    document.querySelector("[popover]:popover-open")?.hidePopover();
    list.replaceChildren();
    list.hidden = closer.hidden = false;
    isStale = true;
    box.setAttribute("aria-expanded", "true");
  };
  const open = () => {
    if (!list.hidden) return;
    show();
    htmx.trigger(box, "open");
  };
  const close = () => {
    htmx.trigger(box, "htmx:abort");
    select();
    list.hidden = closer.hidden = true;
    awaiting = undefined;
    box.value = count.textContent = "";
    box.setAttribute("aria-expanded", "false");
  };
  const leave = () => {
    if (list.hidden) return;
    close();
    if (before?.isConnected) before.focus();
    else box.blur();
  };
  const run = (how) => {
    const option = selected();
    if (!option) form.submit();
    else if (how === "tab" && option.href) window.open(option.href, "_blank", "noopener");
    else option.click();
  };

  document.addEventListener("keydown", (event) => {
    if (!(isMac ? event.metaKey : event.ctrlKey) || event.shiftKey || event.altKey) return;
    if (event.key.toLowerCase() !== "k" || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    if (!list.hidden) return leave();
    box.focus();
    open();
  });
  box.addEventListener("focus", ({ relatedTarget }) => list.hidden && (before = relatedTarget));
  box.addEventListener("click", open);
  box.addEventListener("input", () => {
    isStale = true;
    if (list.hidden) show();
  });
  form.addEventListener("focusout", ({ relatedTarget }) => {
    if (!list.hidden && document.hasFocus() && !form.contains(relatedTarget)) close();
  });
  form.addEventListener("reset", leave); // by the button that closes

  box.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey) return;
    const keys = {
      ArrowDown: () => (list.hidden ? open() : move(options().indexOf(selected()) + 1)),
      ArrowUp: () => (list.hidden ? open() : move(options().indexOf(selected()) - 1)),
      Home: () => move(0),
      End: () => move(-1),
      Escape: leave,
      Enter: () => {
        const how = event.ctrlKey || event.metaKey ? "tab" : "here";
        if (isStale) awaiting = how;
        else run(how);
      },
    };
    const opens = event.key.startsWith("Arrow");
    if (!keys[event.key] || event.shiftKey || (list.hidden && !opens)) return;
    event.preventDefault();
    keys[event.key]();
  });

  // --- Options ---
  list.addEventListener("mousedown", (event) => event.preventDefault()); // the box keeps the focus
  list.addEventListener("mousemove", ({ target }) => {
    const option = target.closest("[role=option]");
    if (option && option !== selected()) select(option);
  });
  list.addEventListener("click", (event) => {
    const opensTab = event.ctrlKey || event.metaKey || event.shiftKey;
    if (event.target.closest("[role=option]") && !opensTab) leave();
  });
  form.parentElement.addEventListener("mousedown", (event) => {
    if (event.target !== form.parentElement) return; // around the palette
    event.preventDefault();
    leave();
  });

  // The selected option goes away; its id must not stay in the box until the others have theirs.
  list.addEventListener("htmx:beforeSwap", ({ target }) => target === list && select());
  // Not after the swap: only later does htmx know which options open the dialog.
  list.addEventListener("htmx:afterSettle", ({ target, detail }) => {
    if (target !== list || list.hidden) return;
    isStale = detail.requestConfig.parameters.q !== box.value;
    const all = options();
    all.forEach((option, place) => (option.id = `palette-${place}`));
    move(0);
    count.textContent = all.length === 1 ? "1 result" : `${all.length} results`;
    if (!isStale && awaiting) run(awaiting);
  });
  // Without a list, Enter searches as it does without a script.
  const search = () => awaiting && form.submit();
  box.addEventListener("htmx:responseError", search);
  box.addEventListener("htmx:sendError", search);
})();

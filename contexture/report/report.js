
"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
  const say = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    say();
  });
  dark.addEventListener("change", say);
  button.hidden = false;
  say();

  const all = [...document.querySelectorAll("[data-context]")];
  const focus = (number) => {
    root.classList.toggle("focused", number !== undefined);
    for (const part of all) part.classList.toggle("here", part.dataset.context === number);
  };
  document.addEventListener("pointerover", (event) => {
    focus(event.target.closest?.("[data-context]")?.dataset.context);
  });
})();

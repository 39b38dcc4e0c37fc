// What a point says in a box beside it.

// The tip stays while the pointer is on it, and Escape takes it away.
let tipOwner = null;
let tipTimer = 0;

function showTip(owner, fill) {
  clearTimeout(tipTimer);
  const tip = byId("tip");
  tip.replaceChildren(...fill());
  tip.hidden = false;
  tipOwner?.removeAttribute("aria-describedby");
  tipOwner?.strand?.classList.remove("lit");
  tipOwner = owner;
  owner.strand?.classList.add("lit");
  owner.setAttribute("aria-describedby", "tip");
  const box = owner.getBoundingClientRect();
  const left = Math.min(Math.max(8, box.left + box.width / 2 - tip.offsetWidth / 2), innerWidth - tip.offsetWidth - 8);
  const above = box.top - tip.offsetHeight - 6;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 4 ? above : box.bottom + 6) + scrollY}px`;
}

function hideTip(owner, atOnce = false) {
  if (owner && owner !== tipOwner) return;
  clearTimeout(tipTimer);
  const hide = () => {
    byId("tip").hidden = true;
    tipOwner?.removeAttribute("aria-describedby");
    tipOwner?.strand?.classList.remove("lit");
    tipOwner = null;
  };
  if (atOnce) hide();
  else if (tipOwner !== document.activeElement || !tipOwner.matches(":focus-visible")) tipTimer = setTimeout(hide, 180);
}

function watchTip() {
  const tip = byId("tip");
  tip.addEventListener("pointerenter", () => clearTimeout(tipTimer));
  tip.addEventListener("pointerleave", () => hideTip(tipOwner));
  addEventListener("keydown", (event) => event.key === "Escape" && hideTip(null, true));
}

// Filters and sorts the cards of each gallery. Without it, every card is there to read.
"use strict";

for (const gallery of document.querySelectorAll(".gallery")) {
  const controls = gallery.querySelector(".controls");
  if (!controls) continue;
  const sheets = [...gallery.querySelectorAll(".sheet")];
  const cards = sheets.flatMap((sheet) => [...sheet.querySelectorAll(".card")].map((card, place) => readCard(card, sheet, place)));
  const [filters, sort, search, count] = [
    [...controls.querySelectorAll("[data-filter]")],
    controls.querySelector("[data-sort]"),
    controls.querySelector("[data-search]"),
    controls.querySelector("output"),
  ];

  const applyFilters = () => {
    const wanted = search.value.trim().toLowerCase();
    for (const card of cards) {
      const fits = filters.every(({ value, dataset }) => !value || card.data[dataset.filter] === value);
      card.element.hidden = !(fits && card.words.includes(wanted));
    }
    for (const sheet of sheets) sheet.hidden = cards.every((card) => card.sheet !== sheet || card.element.hidden);
    const shown = cards.filter((card) => !card.element.hidden).length;
    count.textContent = `${shown} of ${cards.length} shown`;
  };

  const applyOrder = () => {
    const order = orderBy(sort.value);
    for (const card of [...cards].sort(order)) card.element.parentNode.append(card.element);
  };

  for (const filter of filters) filter.addEventListener("change", applyFilters);
  search.addEventListener("input", applyFilters);
  sort.addEventListener("change", applyOrder);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  applyFilters();
}

/** Reads from a card all that is searched and compared: ids and labels, figures, and its place as listed. */
function readCard(element, sheet, place) {
  const text = (selector) => [...element.querySelectorAll(selector)].map((match) => match.textContent);
  return {
    element,
    sheet,
    place,
    data: { ...sheet.dataset, ...element.dataset, label: text(".label")[0] },
    words: text(".id, .label").join("\n").toLowerCase(),
  };
}

/** Orders cards by a figure ("margin", or "-margin" for the largest first) or by label; ties, and cards without, as listed. */
function orderBy(key) {
  const name = key.replace(/^-/, "");
  const sign = key.startsWith("-") ? -1 : 1;
  if (!name) return (a, b) => a.place - b.place;
  if (name === "label") return (a, b) => a.data.label.localeCompare(b.data.label) || a.place - b.place;
  const value = (card) => (name in card.data ? sign * Number(card.data[name]) : Infinity);
  return (a, b) => (value(a) === value(b) ? 0 : value(a) - value(b)) || a.place - b.place;
}

"use strict";
// Saves what was written as the list that `jobs.triplets suspects --apply` takes. Nothing leaves this page otherwise.
const form = document.querySelector("form");
const columns = document.body.dataset.columns.split(",");
const cards = [...form.querySelectorAll("[data-cells]")];
let isSaved = true;

const cells = (card) => JSON.parse(card.dataset.cells);
const suggestion = (card) => cells(card)[3];

// A text box takes no line breaks, which a label may have.
function answer(card) {
  const text = card.querySelector("input").value;
  return text === suggestion(card).replace(/[\r\n]/g, "") ? suggestion(card) : text;
}

// A text that a spreadsheet would run as a formula begins with a quote, which --apply takes off again.
const guard = (text) => (/^'*[=+\-@\t\r]/.test(text) ? `'${text}` : text);
const quote = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const cell = (value) => quote(typeof value === "string" ? guard(value) : String(value ?? ""));

function list() {
  const rows = cards.map((card) => [...cells(card), answer(card)]);
  return [columns, ...rows].map((row) => row.map(cell).join(",") + "\r\n").join("");
}

function count() {
  const filled = cards.filter((card) => answer(card).trim());
  for (const card of cards) card.classList.toggle("filled", filled.includes(card));
  form.querySelector("output").textContent = `${filled.length} of ${cards.length} have a new label`;
}

form.addEventListener("input", () => {
  isSaved = false;
  count();
});
for (const card of cards) {
  card.querySelector("button")?.addEventListener("click", () => {
    card.querySelector("input").value = suggestion(card);
    form.dispatchEvent(new Event("input"));
  });
}
form.addEventListener("submit", (event) => {
  event.preventDefault();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", list()], { type: "text/csv;charset=utf-8" }));
  link.download = "labels.csv";
  link.click();
  isSaved = true;
});
addEventListener("beforeunload", (event) => {
  if (!isSaved) event.preventDefault();
});
count();

// The head of a column is a button that sorts the table by it; pressed again, it reverses the order.
for (const head of document.querySelectorAll("thead th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const direction = head.ariaSort === "ascending" ? -1 : 1;
    for (const other of head.parentNode.cells) other.ariaSort = null;
    head.ariaSort = direction === 1 ? "ascending" : "descending";
    const value = (row) => row.cells[column].textContent;
    const compare = (a, b) => (a - b) || (isNaN(a - b) ? a.localeCompare(b) : 0);
    body.append(...[...body.rows].sort((a, b) => direction * compare(value(a), value(b))));
  });
}
// A box that scrolls sideways can be reached with the keyboard, and one that does not is passed over.
const boxes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
document.querySelectorAll(".scroll").forEach((box) => boxes.observe(box));
// Paper cannot be clicked, so everything is opened before printing.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));

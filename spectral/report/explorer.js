// Attention maps of single users: choose one, and read it cell by cell with the pointer or the arrow keys.
{
  const explorer = document.querySelector(".explorer");
  const models = JSON.parse(explorer.querySelector("script").textContent);
  const canvas = explorer.querySelector("canvas");
  const said = explorer.querySelector("[role=status]");
  const choice = Object.fromEntries([...explorer.querySelectorAll("select")].map((select) => [select.name, select]));
  const looks = matchMedia("(prefers-color-scheme: dark)");
  const picture = document.createElement("canvas"); // the map alone; what is shown has marks around one cell as well
  let user, weights, n, query, key;

  // Offer some values, and keep what was chosen if it is among them.
  function offer(select, options) {
    const before = select.value;
    select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    if (options.some(([value]) => String(value) === before)) select.value = before;
  }

  // Weights of all heads of a layer, each n rows of n; the codes have two bytes, the low one first.
  function decoded({ low, step, weights: text }) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const codes = new Uint16Array(bytes.length / 2).map((_, i) => bytes[2 * i] + 256 * bytes[2 * i + 1]);
    const cells = user.causal ? n * (n + 1) / 2 : n * n;
    return Array.from({ length: codes.length / cells }, (_, head) => Float64Array.from({ length: n * n }, (_, i) => {
      const [row, column] = [Math.floor(i / n), i % n];
      if (!user.causal) return low + step * codes[head * cells + i];
      return column > row ? 0 : low + step * codes[head * cells + row * (row + 1) / 2 + column];
    }));
  }

  function choose() {
    const { users } = models[choice.model.value];
    offer(choice.user, users.map((one) => [one.user, `${one.user} (${one.items.length} positions)`]));
    user = users[choice.user.selectedIndex];
    n = user.items.length;
    offer(choice.layer, user.layers.map(({ layer }) => [layer, layer]));
    const heads = decoded(user.layers[choice.layer.selectedIndex]);
    offer(choice.head, [["mean", "mean over heads"], ...heads.map((_, head) => [head, head + 1])]);
    weights = heads[choice.head.value] ?? heads[0].map((_, i) => heads.reduce((sum, a) => sum + a[i], 0) / heads.length);
    draw();
    show(query ?? n - 1, key ?? n - 1);
  }

  // A colour is as strong as the weight is large, compared with the largest one of its row.
  function draw() {
    const size = Math.max(1, Math.round(800 / n)); // of a cell
    canvas.width = canvas.height = picture.width = picture.height = n * size;
    const colours = getComputedStyle(explorer);
    const context = picture.getContext("2d");
    for (let row = 0; row < n; row++) {
      const of_row = weights.subarray(row * n, (row + 1) * n);
      const largest = of_row.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0);
      of_row.forEach((weight, column) => {
        context.fillStyle = colours.getPropertyValue(weight < 0 ? "--below" : "--focus");
        context.globalAlpha = largest && Math.abs(weight) / largest;
        context.fillRect(column * size, row * size, size, size);
      });
    }
  }

  function show(row, column) {
    [query, key] = [row, column].map((position) => Math.min(Math.max(position, 0), n - 1));
    const size = canvas.width / n;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(picture, 0, 0);
    context.strokeStyle = getComputedStyle(explorer).color;
    context.lineWidth = 1;
    context.strokeRect(0, query * size, canvas.width, size);
    context.strokeRect(key * size, 0, size, canvas.height);
    context.lineWidth = 4;
    context.strokeRect(key * size, query * size, size, size);
    const [from, to] = [query, key].map((position) => `${user.items[position]} at position ${user.first + position}`);
    const weight = Math.round(weights[query * n + key] * 1e5) / 1e5; // 0 rather than -0
    const masked = user.causal && key > query ? " (masked, because it is later)" : "";
    said.textContent = `Query: ${from} → key: ${to}${masked}. Weight ${weight.toFixed(5)}.`;
  }

  function point(event) {
    show(Math.floor(event.offsetY / canvas.clientHeight * n), Math.floor(event.offsetX / canvas.clientWidth * n));
  }

  const steps = {
    ArrowUp: () => [query - 1, key], ArrowDown: () => [query + 1, key],
    ArrowLeft: () => [query, key - 1], ArrowRight: () => [query, key + 1],
    Home: () => [query, 0], End: () => [query, n - 1],
  };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(...steps[event.key]());
  });
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("focus", () => show(query, key));
  looks.addEventListener("change", () => { draw(); show(query, key); });
  explorer.addEventListener("change", choose);
  offer(choice.model, models.map(({ name }, i) => [i, name]));
  choose();
  explorer.hidden = false;
  explorer.previousElementSibling.hidden = true; // what the page says without scripts
}

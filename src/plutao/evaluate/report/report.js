// Draws the figures in the reader's theme, and copies their tables as data. Without it, the tables remain.
const night = matchMedia("(prefers-color-scheme: dark)");
const byNight = JSON.parse(document.getElementById("colours").textContent);
const say = JSON.parse(document.getElementById("words").textContent);

function draw(plot) {
  let text = document.getElementById(plot.dataset.figure).textContent;
  if (night.matches) for (const [day, dark] of Object.entries(byNight)) text = text.replaceAll(day, dark);
  const figure = JSON.parse(text);
  if (plot.clientWidth < 420) figure.layout.hovermode = "closest";
  Plotly.react(plot, figure.data, figure.layout, {
    responsive: true,
    displayModeBar: false,
  });
}

const drawAll = () => document.querySelectorAll(".plot").forEach(draw);
drawAll();
night.addEventListener("change", drawAll);

// What was folded away when it was drawn had no width.
for (const folded of document.querySelectorAll("details.curves"))
  folded.addEventListener("toggle", () => folded.querySelectorAll(".plot").forEach((plot) => Plotly.Plots.resize(plot)));

for (const button of document.querySelectorAll("button[data-save]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const plot = document.getElementById(button.dataset.save);
    Plotly.downloadImage(plot, { format: "svg", width: 800, height: plot.clientHeight, filename: plot.id });
  });
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const rows = [...document.getElementById(button.dataset.copy).rows];
    const data = rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim()).join("\t")).join("\n");
    await navigator.clipboard.writeText(data);
    button.textContent = say.copied;
    setTimeout(() => (button.textContent = say.copy), 1500);
  });
}

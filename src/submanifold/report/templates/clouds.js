"use strict";
// The still picture stays until the interactive one has been drawn, and for good where there is no WebGL.
(async () => {
  const canvas = document.createElement("canvas");
  if (!(canvas.getContext("webgl2") || canvas.getContext("webgl"))) return;
  const space = document.getElementById("space");
  const plot = document.getElementById("plot");
  const still = space.querySelector(".still");
  const traces = JSON.parse(document.getElementById("traces").textContent);
  const axis = { title: { text: "" }, showticklabels: false, showspikes: false, gridcolor: "#e3e3e3", zerolinecolor: "#e3e3e3", showbackground: false };
  const home = { x: 1.15, y: 1.15, z: 0.7 };
  const layout = {
    margin: { l: 0, r: 0, t: 0, b: 0 }, showlegend: false, paper_bgcolor: "#ffffff",
    font: { family: "system-ui, sans-serif", size: 14, color: "#1f2328" },
    scene: { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "data", dragmode: "orbit", camera: { eye: home } },
  };
  plot.hidden = false;
  await Plotly.newPlot(plot, traces, layout, { responsive: true, displaylogo: false, displayModeBar: false });
  still.hidden = true;
  space.querySelector(".controls").hidden = false;

  for (const box of space.querySelectorAll("[data-trace]")) {
    box.addEventListener("change", () => Plotly.restyle(plot, { visible: box.checked }, [Number(box.dataset.trace)]));
  }
  for (const radio of space.querySelectorAll("[name=colour]")) {
    radio.addEventListener("change", () => {
      const color = traces.map((trace) => (radio.value === "class" && trace.meta ? trace.meta.classes : trace.marker.color));
      Plotly.restyle(plot, { "marker.color": color });
    });
  }
  for (const button of space.querySelectorAll("[data-turn]")) {
    button.addEventListener("click", () => {
      const turn = (Number(button.dataset.turn) * Math.PI) / 180;
      const eye = turn ? plot._fullLayout.scene._scene.getCamera().eye : home;
      const turned = {
        x: eye.x * Math.cos(turn) - eye.y * Math.sin(turn), y: eye.x * Math.sin(turn) + eye.y * Math.cos(turn), z: eye.z,
      };
      Plotly.relayout(plot, { "scene.camera.eye": turn ? turned : home, "scene.camera.up": { x: 0, y: 0, z: 1 } });
    });
  }
})();

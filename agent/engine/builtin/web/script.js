// Keeps the selections in the engine's memory over a WebSocket. Without this
// script the form still filters, through the address of the page.
(() => {
  const key = document.body.dataset.document;
  const form = document.querySelector("form");
  const body = document.querySelector("tbody");
  const byId = (id) => document.getElementById(id);
  let socket, wait = 500;

  const refill = async (selections) => {
    const q = new URLSearchParams();
    for (const [column, values] of Object.entries(selections)) {
      for (const v of values) q.append("filter", column + ":" + v);
    }
    const res = await fetch("/doc/" + key + "/api/query?" + q);
    if (!res.ok) return;
    const { data, columns } = await res.json();
    body.replaceChildren(...data.map((row) => {
      const tr = document.createElement("tr");
      row.forEach((field, i) => {
        const td = document.createElement("td");
        td.textContent = field;
        if (columns[i].type === "number") td.className = "number";
        tr.append(td);
      });
      return tr;
    }));
    document.querySelector("nav").hidden = true; // its links filter by address
  };

  const show = (state) => {
    byId("rows").textContent = state.rows;
    byId("requests").textContent = state.requests;
    for (const td of document.querySelectorAll("tfoot td[data-sum]")) {
      td.textContent = state.sums[td.dataset.sum] ?? "";
    }
    for (const s of form.querySelectorAll("select")) {
      const chosen = state.selections[s.dataset.column];
      s.value = chosen && chosen.length ? s.dataset.column + ":" + chosen[0] : "";
    }
    byId("state").textContent = state.error || "kept in this engine's memory";
    return refill(state.selections);
  };

  const connect = () => {
    socket = new WebSocket(location.origin.replace(/^http/, "ws") + "/doc/" + key + "/ws");
    socket.onopen = () => { wait = 500; if (!location.search) socket.send("{}"); };
    socket.onmessage = (m) => show(JSON.parse(m.data));
    socket.onclose = () => {
      byId("state").textContent = "reconnecting";
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 10000);
    };
  };

  form.addEventListener("change", (e) => {
    const column = e.target.dataset.column;
    if (!column || socket.readyState !== WebSocket.OPEN) return;
    const value = e.target.value.slice(column.length + 1);
    socket.send(JSON.stringify({ select: { [column]: e.target.value ? [value] : [] } }));
  });
  form.addEventListener("submit", (e) => { if (socket.readyState === WebSocket.OPEN) e.preventDefault(); });
  connect();
})();

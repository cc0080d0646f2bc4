// For browsers that know no modules: they run this file, and nothing else of the page.
document.addEventListener("DOMContentLoaded", function () {
  var place = document.getElementById("too-old");
  place.hidden = false;
  place.textContent =
    "This browser is too old for this page: it needs modules, WebAssembly and WebRTC. " +
    "Any Chrome, Edge, Firefox or Safari of the last three years has them.";
});

// The admin's form of a periodic task: says under the list of crontabs what the chosen one means.
const crontabs = JSON.parse(document.getElementById("readable-crontabs").textContent);
const select = document.getElementById("id_crontab");
const meaning = document.createElement("div");
meaning.className = "help";
meaning.setAttribute("role", "status");
const translation = document.querySelector(".field-crontab_translation");
if (translation) translation.hidden = true;

function tell() {
  meaning.textContent = crontabs[select.value] ? `Translation: ${crontabs[select.value]}` : "";
}

if (select) {
  document.querySelector(".field-crontab").append(meaning);
  select.addEventListener("change", tell);
  tell();
}

// A console in a window of its own, without the shell around it.
import Spinner from "@cloudscape-design/components/spinner";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { useParams } from "react-router";
import { instance as instanceQuery } from "../api/queries";
import { Console } from "../parts/console";
import { useTitle } from "../parts/page";
import { ProblemAlert } from "../parts/problem";

export default function ConsolePage() {
  const { t } = useTranslation("console");
  const { id = "", kind = "screen" } = useParams();
  const query = useQuery(instanceQuery(id));
  useTitle(t("title", { name: query.data?.name ?? "" }));
  return (
    <main className="nano-console-page">
      {query.isError && <ProblemAlert error={query.error} />}
      {query.data ? (
        <Console instance={query.data} kind={kind === "serial" ? "serial" : "screen"} isWhole />
      ) : (
        <Spinner />
      )}
    </main>
  );
}

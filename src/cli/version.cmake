# SPDX-License-Identifier: GPL-2.0-or-later
# cmake -DVERSION= -DSOURCE= -DTEMPLATE= -DOUTPUT= -P version.cmake: writes OUTPUT if it differs.
set(COMMIT "")
if(EXISTS ${SOURCE}/.git)
  find_program(GIT git)
  if(GIT)
    # git looks into no repository of another user's, as when root builds somebody's checkout.
    execute_process(COMMAND ${GIT} -c safe.directory=* -C ${SOURCE} rev-parse --short=12 HEAD
      OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    execute_process(COMMAND ${GIT} -c safe.directory=* -C ${SOURCE} diff --quiet HEAD --
      ERROR_QUIET RESULT_VARIABLE modified)
    if(NOT failed)
      set(COMMIT " (commit ${commit})")
      if(modified)
        set(COMMIT " (commit ${commit}, modified)")
      endif()
    endif()
  endif()
endif()
configure_file(${TEMPLATE} ${OUTPUT} @ONLY)
